//! The command `marserve`: start in the background or the foreground, check a configuration or an archive,
//! measure or optimise an archive, or stop.

mod background;
mod bench_model;
mod check;
mod cli;
mod defaults;
mod environment;
mod files;
mod foreground;
mod optimize;
mod pid_file;
mod triton;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mar_engine::{Device, Registration, Runtime};
use serde::Serialize;

use crate::settings::{Configuration, Surroundings};
use cli::{Action, Args};

/// The exit status of a command about an archive that could not do what it is for.
const NOTHING_DONE: u8 = 2;

/// What is done with one archive, without a server.
enum Command {
    Check,
    BenchModel,
    Optimize,
}

impl Command {
    fn of(arguments: &[OsString]) -> Option<Self> {
        match arguments.get(1)?.to_str()? {
            check::COMMAND => Some(Self::Check),
            bench_model::COMMAND => Some(Self::BenchModel),
            optimize::COMMAND => Some(Self::Optimize),
            _ => None,
        }
    }
}

/// Runs the command line with these handlers and runtimes. `runtimes` is called when a server really
/// starts, because opening libtorch takes a while.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    handlers: Vec<Registration>,
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(command) = Command::of(&arguments) {
        if let Err(error) = environment::set_for_libraries(&arguments) {
            report_failure(&error);
            return ExitCode::from(NOTHING_DONE);
        }
        return match command {
            Command::Check => check::run(&arguments[2..], handlers, runtimes),
            Command::BenchModel => bench_model::run(&arguments[2..], handlers, runtimes),
            Command::Optimize => optimize::run(&arguments[2..], runtimes),
        };
    }
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => {
            // clap prints help and version on standard output, errors on standard error.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let around = Surroundings::of_this_process();
    let outcome = match args.action() {
        Action::Stop => background::stop(),
        Action::Check => args.configuration(&around).map(|configuration| {
            say(&configuration.report());
            ExitCode::SUCCESS
        }),
        Action::Background => args.configuration(&around).and_then(|configuration| {
            warn(&configuration);
            background::start(&arguments)
        }),
        Action::Foreground => args.configuration(&around).and_then(|configuration| {
            environment::set_for_libraries(&arguments)?;
            foreground::serve(&configuration, handlers, runtimes)
        }),
    };
    outcome.unwrap_or_else(|error| {
        report_failure(&error);
        ExitCode::FAILURE
    })
}

/// The arguments of a command that starts no server; where they are none, or ask for help, what to end with.
fn parse<A: Parser>(command: &str, arguments: &[OsString]) -> Result<A, ExitCode> {
    let named = std::iter::once(OsString::from(command)).chain(arguments.iter().cloned());
    A::try_parse_from(named).map_err(|error| {
        drop(error.print());
        ExitCode::from(if error.use_stderr() { NOTHING_DONE } else { 0 })
    })
}

#[expect(clippy::print_stderr, reason = "the command line's answer to the person who typed it")]
fn report_failure(error: &anyhow::Error) {
    eprintln!("marserve: {error:#}");
}

/// Tells the person at the command line what was asked for and is not done.
fn warn(configuration: &Configuration) {
    for warning in &configuration.warnings {
        warn_of(warning);
    }
}

#[expect(clippy::print_stderr, reason = "the command line's answer to the person who typed it")]
fn warn_of(warning: &str) {
    eprintln!("marserve: warning: {warning}");
}

/// Tells the person at the command line. Where nobody reads any more, as when a background start was
/// interrupted, the server goes on without.
fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

/// Prints what a command found out, for a program that reads it.
fn print_json(printed: &impl Serialize) {
    match serde_json::to_string(printed) {
        Ok(text) => say(&text),
        Err(error) => report_failure(&error.into()),
    }
}

/// `cpu`, `cuda` or `cuda:N`.
fn device(text: &str) -> Result<Device, String> {
    let index = match text {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        _ => text.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
    };
    index.map(Device::Cuda).ok_or_else(|| "give cpu, or cuda:0, cuda:1 and so on".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_the_server_names_them() {
        assert_eq!(device("cpu"), Ok(Device::Cpu));
        assert_eq!(device("cuda"), Ok(Device::Cuda(0)));
        assert_eq!(device("cuda:3"), Ok(Device::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU"] {
            assert!(device(wrong).unwrap_err().contains("cuda:0"), "{wrong}");
        }
    }
}
