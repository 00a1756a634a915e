//! A network as ONNX Runtime has rewritten it, as a file that takes the place of the one it was made of.

use std::path::{Path, PathBuf};
use std::{fs, io};

use mar_handler::{Error, ErrorCode, LoadSpec, Optimised, Result};
use ort::session::Session;
use serde_json::{Map, json};

use super::error::not_onnx;
use super::files::Files;
use super::kept::Graph;
use super::level::Level;
use super::library::Library;
use super::options::Options;

/// Networks from this size on have their weights in a file of their own: a message of protobuf ends at 2 GiB.
const OWN_FILE_FROM: u64 = 3 << 29;

/// Writes the network into a folder, and opens what it wrote.
pub(super) fn write(
    library: &Library,
    spec: &LoadSpec,
    files: &Files,
    folder: &Path,
) -> Result<Optimised> {
    let options = Options::new(&spec.options, spec.intra_op_threads)?;
    if options.level == Level::Disable {
        return Err(Error::new(
            ErrorCode::InvalidInput,
            "level disable leaves a network as it is; give basic, extended, layout or all",
        ));
    }
    let mut unused = files.weights().map_err(Error::invalid_model)?.to_vec();
    let beside = spec.file.parent().unwrap_or(Path::new(""));
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |about| about.len());
    let bytes: u64 = files.all().map_err(Error::invalid_model)?.iter().map(size).sum();

    let failed = |error| not_onnx(&spec.file, error);
    let open = |file: &Path, graph: Graph<'_>| {
        graph.apply(options.apply(Session::builder(&library.environment)?)?)?.commit_from_file(file)
    };
    let name = spec.file.file_name().unwrap_or_default();
    let graph = folder.join(name);
    let weights = format!("{}.data", name.to_string_lossy());
    // Weights that lie in files of their own would go on to be looked for there.
    let weights = (bytes >= OWN_FILE_FROM || !unused.is_empty()).then_some(&*weights);
    drop(open(&spec.file, Graph::Written { graph: &graph, weights }).map_err(failed)?);
    drop(open(&graph, Graph::Ready).map_err(failed)?);

    let written: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).and_then(|files| files.map(|file| Ok(file?.path())).collect());
    let mut files = written.map_err(|error| {
        Error::new(ErrorCode::Internal, format!("{}: {error}", folder.display())).caused_by(error)
    })?;
    files.sort_by_key(|file| *file != graph);
    let unreadable = |error: io::Error| {
        Error::new(ErrorCode::Internal, format!("{}: {error}", beside.display())).caused_by(error)
    };
    let shared = of_others(&spec.file, beside).map_err(unreadable)?;
    unused.retain(|file| !shared.contains(file));
    let mut made_by = Map::new();
    made_by.insert("runtime".to_owned(), "ONNX Runtime".into());
    made_by.insert("version".to_owned(), json!(library.version));
    made_by.insert("level".to_owned(), options.level.name().into());
    let of_this_kind = options.level.is_of_this_processor().then(|| {
        format!(
            "level {} is for processors of this kind: on others the network may not open, or be slow",
            options.level.name()
        )
    });
    Ok(Optimised { files, unused, made_by, warnings: of_this_kind.into_iter().collect() })
}

/// The weights of the other networks in a folder.
fn of_others(network: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut shared = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if mar_onnx::is_network(&file) && file != network {
            // What cannot be read needs nothing that could be told.
            let needed = mar_onnx::Network::open(&file).map(|other| other.external());
            shared.extend(needed.unwrap_or_default().into_iter().map(|file| file.location.into()));
        }
    }
    Ok(shared)
}
