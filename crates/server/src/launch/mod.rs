//! The command `marserve`: start in the background or the foreground, check a configuration or an archive,
//! or stop.

mod background;
mod check;
mod cli;
mod files;
mod foreground;
mod pid_file;
mod threads;
mod triton;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mar_engine::{Registration, Runtime};

use crate::settings::{Configuration, Surroundings};
use cli::{Action, Args};

/// Runs the command line with these handlers and runtimes. `runtimes` is called when a server really
/// starts, because opening libtorch takes a while.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    handlers: Vec<Registration>,
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == check::COMMAND) {
        if let Err(error) = threads::set_for_libraries(&arguments) {
            report_failure(&error);
            return ExitCode::from(check::NOT_CHECKED);
        }
        return check::run(&arguments[2..], handlers, runtimes);
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
            threads::set_for_libraries(&arguments)?;
            foreground::serve(&configuration, handlers, runtimes)
        }),
    };
    outcome.unwrap_or_else(|error| {
        report_failure(&error);
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "the command line's answer to the person who typed it")]
fn report_failure(error: &anyhow::Error) {
    eprintln!("marserve: {error:#}");
}

/// Tells the person at the command line what was asked for and is not done.
#[expect(clippy::print_stderr, reason = "the command line's answer to the person who typed it")]
fn warn(configuration: &Configuration) {
    for warning in &configuration.warnings {
        eprintln!("marserve: warning: {warning}");
    }
}

/// Tells the person at the command line. Where nobody reads any more, as when a background start was
/// interrupted, the server goes on without.
fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}
