//! Where ONNX Runtime lies, and the one environment that a process has of it.

use std::env;
use std::error::Error;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;

use super::cuda;

/// The oldest ONNX Runtime whose interface is the one that is called.
const OLDEST: &str = "1.24";

/// What the library is called, by packages for developers and by those for users.
const NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// ONNX Runtime has one environment a process, and ort refuses to make a second one.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// ONNX Runtime, opened.
#[derive(Clone, Debug)]
pub(super) struct Library {
    pub(super) environment: Environment,
    /// Its version, such as 1.28.0.
    pub(super) version: String,
    /// How many CUDA devices it can use, or why none.
    pub(super) cuda: Result<usize, String>,
}

impl Library {
    /// The library of this process, opened by the first who asks; or why there is none.
    pub(super) fn start() -> Result<Self, String> {
        let mut library = LIBRARY.lock();
        if let Some(library) = &*library {
            return Ok(library.clone());
        }
        let opened = open(&candidates(env::var_os("ORT_DYLIB_PATH").map(PathBuf::from)))?;
        Ok(library.insert(opened).clone())
    }
}

/// The places to look at, the first one first. What was asked for is the only one.
fn candidates(asked: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(asked) = asked.filter(|path| !path.as_os_str().is_empty()) {
        return vec![asked];
    }
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let built = [env!("MARSERVE_ONNXRUNTIME_LINK"), env!("MARSERVE_ONNXRUNTIME")];
    let built = built.map(|folder| Path::new(folder).join("lib"));
    let folders = beside.into_iter().chain(built);
    let places = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    let there = places.filter(|place| place.exists());
    // A name alone is looked for where the system's loader looks.
    there.chain(NAMES.map(PathBuf::from)).collect()
}

/// Opens the first that is there. A library that is there and is not what is needed is told, not passed over.
fn open(candidates: &[PathBuf]) -> Result<Library, String> {
    let mut missing = None;
    for path in candidates {
        match ort::init_from(path) {
            Ok(builder) => {
                let version = version(path).unwrap_or_else(|| "unknown".to_owned());
                log::info!("ONNX Runtime {version} of {}", path.display());
                let builder = builder.with_name("marserve").with_telemetry(false);
                let made = builder.with_logger(Arc::new(forward)).build();
                let made = made.map_err(|error| format!("it does not start: {error}"))?;
                made.set_log_level(LogLevel::Warning);
                let cuda = cuda::devices();
                match &cuda {
                    Ok(count) => log::info!("ONNX Runtime can use {count} CUDA devices"),
                    Err(reason) => log::debug!("ONNX Runtime can use no CUDA device: {reason}"),
                }
                return Ok(Library { environment: made, version, cuda });
            }
            Err(LoadDynamicError::Dlopen { error, .. }) if !path.is_absolute() => {
                missing.get_or_insert(reason(&error));
            }
            Err(error) => return Err(unfit(path, &error)),
        }
    }
    let cause = missing.unwrap_or_default();
    Err(format!(
        "it is not here ({cause}): scripts/setup fetches it, or set ORT_DYLIB_PATH to a libonnxruntime.so"
    ))
}

/// The version that an opened library says it is.
fn version(path: &Path) -> Option<String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    #[expect(unsafe_code, reason = "ort checks the version and does not tell it")]
    // SAFETY: the library is open already, so its constructors have run; ort has found this function in it, whose
    // type is that of ONNX Runtime's header, and it gives a constant that lives as long as the library.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<Base>(b"OrtGetApiBase").ok()?().as_ref()?;
        let version = CStr::from_ptr((base.GetVersionString)().as_ref()?);
        Some(version.to_string_lossy().into_owned())
    }
}

fn unfit(path: &Path, error: &LoadDynamicError) -> String {
    let path = path.display();
    match error {
        LoadDynamicError::BadVersion { version_str, .. } => format!(
            "{path} is version {version_str}, marserve needs {OLDEST} or newer: scripts/setup fetches one"
        ),
        LoadDynamicError::Dlopen { error, .. } => format!(
            "{path} does not open ({}): scripts/setup fetches one that does, or set ORT_DYLIB_PATH to another",
            reason(error).trim_start_matches(&format!("{path}: "))
        ),
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            format!("{path} is no ONNX Runtime: set ORT_DYLIB_PATH to a libonnxruntime.so")
        }
    }
}

/// The loader's own words, which say what is missing.
pub(super) fn reason(error: &dyn Error) -> String {
    error.source().unwrap_or(error).to_string()
}

/// What ONNX Runtime says goes to this server's log. Its errors are also told to whoever called it, so here
/// they are for those who look for details: a client could fill the log with them.
fn forward(level: LogLevel, _category: &str, _id: &str, place: &str, message: &str) {
    let level = if level == LogLevel::Fatal { log::Level::Error } else { log::Level::Debug };
    log::log!(target: "onnxruntime", level, "{message} ({place})");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs this test of the module once more, in a process where no other has opened the library: once one is open,
    /// ort takes it for whatever it is asked for.
    fn alone(test: &str, check: impl FnOnce()) {
        const ALONE: &str = "MARSERVE_TEST_ALONE";
        if env::var_os(ALONE).is_some() {
            return check();
        }
        let run = std::process::Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("onnx::library::tests::{test}")])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    fn refused(path: &Path) -> String {
        open(&candidates(Some(path.to_owned()))).unwrap_err()
    }

    #[test]
    fn what_was_asked_for_is_the_only_place() {
        assert_eq!(candidates(Some("/some/where.so".into())), [Path::new("/some/where.so")]);
        let found = candidates(Some(PathBuf::new()));
        assert_eq!(found, candidates(None), "an empty variable asks for nothing");
        assert_eq!(found[found.len() - 2..], NAMES.map(PathBuf::from), "the system's, last of all");
    }

    #[test]
    fn a_library_that_does_not_open_is_named_with_the_remedy() {
        alone("a_library_that_does_not_open_is_named_with_the_remedy", || {
            let missing = refused(Path::new("/nowhere/libonnxruntime.so"));
            let start = "/nowhere/libonnxruntime.so does not open (cannot open shared object file";
            assert!(missing.starts_with(start), "{missing}");
            assert!(missing.contains("scripts/setup"), "{missing}");
            let text = refused(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
            assert!(text.contains("Cargo.toml does not open"), "{text}");
            let nowhere = open(&[PathBuf::from("libnowhere-to-be-found.so")]).unwrap_err();
            assert!(nowhere.starts_with("it is not here (libnowhere-to-be-found.so:"), "{nowhere}");
        });
    }

    #[test]
    fn another_library_and_an_old_one_are_told_apart() {
        alone("another_library_and_an_old_one_are_told_apart", || {
            // Any library that is surely there and is not this one.
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let other = maps.lines().filter_map(|line| line.get(line.find('/')?..));
            let other = other.into_iter().find(|path| path.contains("/libc.so")).unwrap();
            assert!(refused(Path::new(other)).contains("is no ONNX Runtime"), "{other}");
            let path = PathBuf::from("/lib/libonnxruntime.so");
            let old =
                LoadDynamicError::BadVersion { version_str: "1.22.1".into(), path: path.clone() };
            assert_eq!(
                unfit(&path, &old),
                "/lib/libonnxruntime.so is version 1.22.1, marserve needs 1.24 or newer: scripts/setup fetches one"
            );
        });
    }
}
