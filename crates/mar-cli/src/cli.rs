//! The command line: arguments in, text out.
//!
//! Exit status: 0 done, 1 failed (`diff`: the archives differ), 2 wrong usage (`diff`: also any error).

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{diff, inspect, optimize, pack, show, unpack, verify};

/// Pack, look into, check and compare model archives (.mar, .tar.gz, folders)
#[derive(Debug, Parser)]
#[command(name = "mar", version, infer_long_args = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pack(Box<pack::PackArgs>),
    Inspect(inspect::InspectArgs),
    Unpack(unpack::UnpackArgs),
    Verify(verify::VerifyArgs),
    Diff(diff::DiffArgs),
    Optimize(optimize::OptimizeArgs),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr())
}

/// Runs a command line, the program's name first, and writes to the given streams.
fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            let text = error.render();
            let written = if failed { write!(err, "{text}") } else { write!(out, "{text}") };
            return ExitCode::from(if failed || written.is_err() { 2 } else { 0 });
        }
    };
    let error_status = if matches!(cli.command, Command::Diff(_)) { 2 } else { 1 };
    let done = match cli.command {
        Command::Pack(args) => pack::run(*args, out, err),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Unpack(args) => unpack::run(&args, out),
        Command::Verify(args) => verify::run(&args, out, err),
        Command::Diff(args) => diff::run(&args, out),
        Command::Optimize(args) => optimize::run(&args),
    };
    match done.and_then(|status| Ok(out.flush().map(|()| status)?)) {
        Ok(status) => status,
        // `mar inspect x.mar | head` ends like this, and nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = show::plain(&format!("{error:#}"));
            // With standard error gone there is nobody left to tell.
            drop(writeln!(err, "mar: {text}"));
            ExitCode::from(error_status)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
