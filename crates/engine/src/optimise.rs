//! An archive whose network its runtime has rewritten ahead of any load, as a new archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar::Archive;
use mar_handler::{Error, ErrorCode, LoadSpec, Result, Runtime};
use serde_json::{Map, Value};

use crate::open::{Opener, invalid, weights};
use crate::work_dir::WorkDir;

/// Where the manifest says how the network was made.
const MADE_BY: &str = "optimizedBy";

/// What is to be rewritten, and where to.
#[derive(Clone, Debug, Default)]
pub struct OptimiseRequest {
    /// The archive: a file or a folder.
    pub archive: PathBuf,
    /// The archive to be made; its ending says the form.
    pub out: PathBuf,
    /// Whether an archive that is there is replaced.
    pub force: bool,
    /// What the runtime is asked, by its own names, such as how far it goes.
    pub options: Map<String, Value>,
    /// Where the archive is unpacked.
    pub temp_dir: PathBuf,
}

/// An archive that was made.
#[derive(Clone, Debug)]
pub struct OptimisedArchive {
    /// Where it lies.
    pub path: PathBuf,
    /// The model's name.
    pub model: String,
    /// Bytes of the network and its weights, before and after.
    pub bytes: (u64, u64),
    /// What whoever asked for it should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Makes an archive in which the network is as its runtime rewrote it, and all else is as it was.
///
/// # Errors
/// [`ErrorCode::Unsupported`] where the archive's runtime rewrites no files; else where the archive cannot be
/// read, its network does not open, or the new archive cannot be written.
pub fn optimise(
    request: &OptimiseRequest,
    runtimes: Vec<Arc<dyn Runtime>>,
) -> Result<OptimisedArchive> {
    let opener = Opener { handlers: Vec::new(), runtimes };
    let archive = Archive::open(&request.archive).map_err(|error| invalid(&error))?;
    let mut manifest = archive.manifest().clone();
    let network = weights(&manifest)?.to_owned();
    let runtime = opener.runtime(&network)?;
    if is_same(&request.archive, &request.out) {
        return Err(Error::new(
            ErrorCode::InvalidInput,
            format!("{} is the archive itself; give another name", request.out.display()),
        ));
    }

    let work_dir = WorkDir::create(&request.temp_dir)?;
    let (folder, made) = (work_dir.fresh(), work_dir.fresh());
    archive.extract(&folder).map_err(|error| invalid(&error))?;
    fs::create_dir(&made).map_err(|error| {
        let message = format!("cannot make {}: {error}", made.display());
        Error::new(ErrorCode::Internal, message).caused_by(error)
    })?;
    let spec =
        LoadSpec { options: request.options.clone(), ..LoadSpec::new(folder.join(&network)) };
    let optimised = runtime.optimise(&spec, &made)?;

    let place = Path::new(&network).parent().unwrap_or(Path::new("")).to_owned();
    let mut before = size(&folder.join(&network))?;
    for unused in &optimised.unused {
        let unused = folder.join(&place).join(unused);
        before += size(&unused)?;
        // A network that lends its weights, such as a TorchScript file, is also there for itself.
        if opener.runtime(&unused.to_string_lossy()).is_ok() {
            continue;
        }
        fs::remove_file(&unused).map_err(|error| failed(&unused, error))?;
    }
    let mut after = 0;
    for file in &optimised.files {
        let target = folder.join(&place).join(file.file_name().unwrap_or_default());
        after += size(file)?;
        fs::rename(file, &target).map_err(|error| failed(&target, error))?;
    }
    manifest.extra.insert(MADE_BY.to_owned(), optimised.made_by.into());
    let target = (&*request.out, request.force);
    let packed = mar::repack(&folder, &manifest, target, &mut |_, _| {}).map_err(|error| {
        let code = match error {
            mar::Error::Exists { .. } | mar::Error::Input(_) => ErrorCode::InvalidInput,
            _ => ErrorCode::Internal,
        };
        Error::new(code, error.one_line())
    })?;
    let warnings = [optimised.warnings, packed.warnings].concat();
    let model = manifest.model.model_name;
    Ok(OptimisedArchive { path: packed.path, model, bytes: (before, after), warnings })
}

fn is_same(archive: &Path, out: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(archive).is_some_and(|archive| real(out) == Some(archive))
}

fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).map_err(|error| failed(file, error))?.len())
}

fn failed(file: &Path, error: std::io::Error) -> Error {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Error::new(ErrorCode::Internal, format!("{name}: {error}")).caused_by(error)
}
