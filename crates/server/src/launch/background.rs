//! Starting in the background, as `torchserve --start` does, and stopping.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process, setsid};

use super::pid_file::Running;
use super::{environment, say};

/// Tells the child that it is the server in the background.
const CHILD: &str = "MARSERVE_BACKGROUND";

/// The line by which TorchServe's tools know that the server answers.
pub(super) const STARTED: &str = "Model server started.";

/// How long `--stop` waits beyond any sensible grace period.
const STOP_WAIT: Duration = Duration::from_mins(2);

/// Starts this program again as a process of its own and returns once it has loaded its models.
pub(super) fn start(arguments: &[OsString]) -> Result<ExitCode> {
    if let Some(running) = Running::find()? {
        bail!(running.message());
    }
    let (mut log, log_path) = open_log()?;
    let before = log.seek(SeekFrom::End(0))?;
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut server = Command::new(program);
    environment::for_child(&mut server);
    let mut child = server
        .args(arguments.iter().skip(1))
        .arg("--foreground")
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()
        .context("cannot start the server process")?;
    let report = child.stdout.take().context("the server process has no output")?;
    for line in BufReader::new(report).lines() {
        let line = line?;
        say(&line);
        if line == STARTED {
            say(&format!("pid {}, log in {}", child.id(), log_path.display()));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let status = child.wait()?;
    let mut said = String::new();
    log.seek(SeekFrom::Start(before))?;
    log.read_to_string(&mut said)?;
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n");
    bail!("the server ended with {status}; {} says:\n{last}", log_path.display());
}

fn open_log() -> Result<(File, PathBuf)> {
    let folder =
        std::env::var_os("LOG_LOCATION").map_or_else(|| PathBuf::from("logs"), PathBuf::from);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the log folder {}", folder.display()))?;
    let path = folder.join("marserve.log");
    let file = File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(&path)
        .with_context(|| format!("cannot open the log {}", path.display()))?;
    Ok((file, path))
}

/// In the child: leaves the terminal's session, so that closing the terminal does not end the server.
pub(super) fn leave_terminal() {
    if std::env::var_os(CHILD).is_some()
        && let Err(error) = setsid()
    {
        log::warn!("cannot leave the terminal's session: {error}");
    }
}

/// In the child: lets go of the parent's pipe, which ends when the parent does.
pub(super) fn release_output() -> Result<()> {
    if std::env::var_os(CHILD).is_some() {
        let nowhere = File::options().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&nowhere)?;
    }
    Ok(())
}

/// Ends the server that runs with this temporary folder and waits until it has ended.
pub(super) fn stop() -> Result<ExitCode> {
    let Some(running) = Running::find()? else {
        say("marserve is not running");
        return Ok(ExitCode::SUCCESS);
    };
    kill_process(running.pid, Signal::TERM)
        .with_context(|| format!("cannot end process {}", running.pid))?;
    let deadline = Instant::now() + STOP_WAIT;
    while !running.has_ended() {
        if Instant::now() > deadline {
            bail!("process {} has not ended after {} s", running.pid, STOP_WAIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    say("marserve has stopped");
    Ok(ExitCode::SUCCESS)
}
