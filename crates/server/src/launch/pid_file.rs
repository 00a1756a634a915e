//! The file that says which process serves, where TorchServe keeps its own: in the temporary folder.
//!
//! The process keeps the file locked, so that a number left by a process that was killed is told from
//! one that runs, even where another process has that number by now.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::process::Pid;

/// The mark of a running server, removed with this value.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Held open for its lock.
    _file: File,
}

/// One file a user, so that users of one machine are not in each other's way.
fn path() -> PathBuf {
    std::env::temp_dir().join(format!(".marserve-{}.pid", rustix::process::getuid().as_raw()))
}

fn open(path: &PathBuf) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        // The folder is everybody's: a link that somebody else left there is not followed.
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

impl PidFile {
    /// Marks this process as the server.
    pub(crate) fn claim() -> Result<Self> {
        let path = path();
        let mut file = open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(already_running(number(&mut file))),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // While the lock is held, so that the file of the next server is never the one removed.
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A server that runs, as another process sees it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: Pid,
    file: File,
}

impl Running {
    /// The server that runs with this temporary folder, if one does.
    pub(crate) fn find() -> Result<Option<Self>> {
        let path = path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", path.display()));
            }
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let pid = number(&mut file).and_then(Pid::from_raw);
                let pid = pid.with_context(|| format!("{} holds no number", path.display()))?;
                Ok(Some(Self { pid, file }))
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether the process has ended since.
    pub(crate) fn has_ended(&self) -> bool {
        self.file.try_lock_shared().is_ok()
    }

    /// Why no other server starts.
    pub(crate) fn message(&self) -> String {
        already_running(Some(self.pid.as_raw_nonzero().get()))
    }
}

fn number(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn already_running(pid: Option<i32>) -> String {
    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    format!("marserve is already running with pid {pid}; marserve --stop ends it")
}
