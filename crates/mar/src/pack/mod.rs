//! Making archives: what `torch-model-archiver` 0.12 does, reproducibly and without half results.

mod again;
mod extra;
mod folder;
mod handler;
mod input;
mod plan;
mod samples;
mod stamp;
mod tgz;
mod zip;

use std::path::{Path, PathBuf};

use serde_json::Map;

use crate::archive::references;
use crate::manifest::{MANIFEST_NAME, Manifest, ManifestModel, RUNTIMES, is_model_name};
use crate::pack::plan::Plan;
use crate::staging::Staged;
use crate::{Error, pack::input::Progress};

pub use crate::pack::again::repack;
pub use crate::pack::handler::{BUILTIN_HANDLERS, LSP_HANDLERS};
pub use crate::pack::samples::PackSample;
pub use crate::pack::zip::ALIGNMENT;

/// What stands in `archiverVersion`: the version of torch-model-archiver whose format this is, so that
/// tools which compare that field keep working, and this crate's own as build metadata, which both
/// semantic versioning and Python's packaging allow after a `+`.
const ARCHIVER_VERSION: &str = concat!("0.12.0+mar.", env!("CARGO_PKG_VERSION"));

/// The form of the archive to make; the words are torch-model-archiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PackFormat {
    /// `NAME.mar`, a zip: weights stored and aligned, text deflated.
    #[default]
    Default,
    /// `NAME.mar`, a zip with nothing deflated.
    ZipStore,
    /// `NAME.tar.gz`, everything under one folder `NAME`.
    Tgz,
    /// The folder `NAME` itself.
    NoArchive,
}

impl PackFormat {
    fn suffix(self) -> &'static str {
        match self {
            Self::Default | Self::ZipStore => ".mar",
            Self::Tgz => ".tar.gz",
            Self::NoArchive => "",
        }
    }
}

/// What to pack and where to. The fields are torch-model-archiver's flags.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// The model's name; the archive's too.
    pub model_name: String,
    /// The model's version, free text.
    pub version: String,
    /// A built-in handler's name, or a path: `h.py`, `h`, or `path/module:function`.
    pub handler: String,
    /// The weights.
    pub serialized_file: Option<PathBuf>,
    /// Files that the weights need, each with its name in the archive. A file of that name that is given otherwise
    /// stays. torch-model-archiver has none.
    pub companions: Vec<(String, PathBuf)>,
    /// The Python file of an eager model.
    pub model_file: Option<PathBuf>,
    /// Files, folders (their contents go to the root) and patterns.
    pub extra_files: Vec<String>,
    /// `python`, `python3` or `LSP`.
    pub runtime: String,
    /// The folder in which the archive is made; it must exist.
    pub export_path: PathBuf,
    /// The form.
    pub format: PackFormat,
    /// Whether an archive of that name is replaced.
    pub force: bool,
    /// Python packages to install.
    pub requirements_file: Option<PathBuf>,
    /// The `model-config.yaml`.
    pub config_file: Option<PathBuf>,
    /// Seconds since 1970-01-01 UTC for `createdOn`.
    pub created: i64,
    /// Inputs whose answers are known, in the order in which they are replayed. torch-model-archiver has none.
    pub samples: Vec<PackSample>,
}

/// An archive that was made.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Where it lies.
    pub path: PathBuf,
    /// Files in it, the manifest included.
    pub files: usize,
    /// Bytes of these files, unpacked.
    pub bytes: u64,
    /// What its maker may want to know, one sentence each.
    pub warnings: Vec<String>,
}

/// The files that [`pack`] would take from the disk, with their names in the archive, sorted by these.
///
/// # Errors
/// As [`pack`]'s, where one is missing.
pub fn planned(options: &PackOptions) -> Result<Vec<(String, PathBuf)>, Error> {
    let files = plan::collect(options)?.files.into_iter();
    Ok(files.filter_map(|(name, planned)| planned.path().map(|path| (name, path))).collect())
}

/// Makes an archive. `progress` hears `(bytes packed so far, bytes in all)` now and then.
///
/// The contents are streamed: memory does not grow with the weights. The archive is written under a
/// hidden name in the export folder, flushed to the disk and renamed, so that it is whole or absent.
///
/// # Errors
/// When an input is missing or cannot be packed, when the archive exists and `force` is off, and when
/// something cannot be read or written.
pub fn pack(options: &PackOptions, progress: &mut Progress<'_>) -> Result<Packed, Error> {
    check_words(options)?;
    let name = format!("{}{}", options.model_name, options.format.suffix());
    let path = options.export_path.join(name);
    check_target(options, &path)?;
    let mut plan = plan::collect(options)?;
    samples::add(&mut plan, &options.samples)?;
    plan.set_manifest(&manifest(options)?)?;
    finish(options, &path, plan, progress)
}

/// Writes what was planned.
fn finish(
    options: &PackOptions,
    path: &Path,
    plan: Plan,
    progress: &mut Progress<'_>,
) -> Result<Packed, Error> {
    let staged = if options.format == PackFormat::NoArchive {
        Staged::folder(path)?
    } else {
        Staged::file(path)?
    };
    let bytes = plan.total_bytes();
    let mut done = 0;
    let mut count = |more: u64| {
        done += more;
        progress(done, bytes);
    };
    write(options, &plan, &staged, &mut count)?;
    staged.handle().sync_all().map_err(|error| Error::io("write", path, error))?;
    if options.force { staged.commit_over() } else { staged.commit() }?;
    Ok(Packed { path: path.to_owned(), files: plan.files.len(), bytes, warnings: plan.warnings })
}

fn write(
    options: &PackOptions,
    plan: &Plan,
    staged: &Staged,
    count: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let done = match options.format {
        PackFormat::Default => zip::write(plan, staged.handle(), zip::Text::Deflated, count),
        PackFormat::ZipStore => zip::write(plan, staged.handle(), zip::Text::Stored, count),
        PackFormat::Tgz => tgz::write(plan, staged.handle(), &options.model_name, count),
        PackFormat::NoArchive => folder::write(plan, staged.path(), count),
    };
    done.map_err(|error| Error::io("write", staged.path(), error))
}

fn check_words(options: &PackOptions) -> Result<(), Error> {
    if !is_model_name(&options.model_name) {
        return Err(Error::Input(format!(
            "model name {:?} must start with a letter or digit and hold only letters, digits, _ - and .",
            options.model_name
        )));
    }
    if options.version.is_empty() {
        return Err(Error::Input("the model's version is empty; TorchServe needs one".to_owned()));
    }
    if !RUNTIMES.contains(&options.runtime.as_str()) {
        let known = RUNTIMES.join(", ");
        return Err(Error::Input(format!("no runtime {:?}; known: {known}", options.runtime)));
    }
    if !options.export_path.is_dir() {
        return Err(Error::Input(format!(
            "export path {} is not a folder; make it first",
            options.export_path.display()
        )));
    }
    Ok(())
}

/// `force` replaces an archive, never something else that happens to have its name.
fn check_target(options: &PackOptions, path: &Path) -> Result<(), Error> {
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    let exists = |advice| Err(Error::Exists { path: path.to_owned(), advice });
    if !options.force {
        return exists("pass --force to replace it");
    }
    match options.format {
        PackFormat::NoArchive if !about.is_dir() => exists("and it is not a folder; move it away"),
        PackFormat::NoArchive if !path.join(MANIFEST_NAME).exists() => {
            exists("and it has no MAR-INF/MANIFEST.json, so it is not replaced; move it away")
        }
        PackFormat::NoArchive => Ok(()),
        _ if about.is_dir() => exists("and it is a folder; move it away"),
        _ => Ok(()),
    }
}

fn manifest(options: &PackOptions) -> Result<Manifest, Error> {
    let name = |path: &Option<PathBuf>| path.as_deref().map(plan::base_name).transpose();
    let model = ManifestModel {
        model_name: options.model_name.clone(),
        serialized_file: name(&options.serialized_file)?,
        handler: Some(plan::base_name(Path::new(&options.handler))?),
        model_file: name(&options.model_file)?,
        model_version: options.version.clone(),
        requirements_file: name(&options.requirements_file)?,
        config_file: name(&options.config_file)?,
        extra: Map::new(),
    };
    Ok(Manifest {
        created_on: Some(stamp::created_on(options.created)?),
        runtime: options.runtime.clone(),
        model,
        archiver_version: Some(ARCHIVER_VERSION.to_owned()),
        extra: Map::new(),
    })
}

/// Whether a file's content should lie in a zip as it is.
fn is_stored(name: &str, size: u64) -> bool {
    /// Beyond this, the time to deflate is worth more than the space.
    const BIG: u64 = 8 << 20;
    const COMPRESSED: [&str; 16] = [
        "zip", "mar", "gz", "tgz", "bz2", "xz", "zst", "7z", "whl", "npz", "png", "jpg", "jpeg",
        "webp", "gif", "mp4",
    ];
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or("");
    size > BIG
        || references::has_weights_ending(name)
        || COMPRESSED.iter().any(|known| known.eq_ignore_ascii_case(ending))
}
