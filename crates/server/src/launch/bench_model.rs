//! `marserve bench-model`: how fast an archive's network runs here, in every way that it can be run, without a
//! server.
//!
//! Ends with 0 where something was measured, with 1 where answers differ by more than `--min-parity` allows,
//! with 2 where nothing could be measured.

mod table;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use mar_engine::{Device, MeasureRequest, Measured, Registration, Runtime, measure};
use serde::Serialize;

use super::{NOTHING_DONE, device, parse, print_json, report_failure, say};
use crate::logging::one_line;

/// The first argument that asks for it.
pub(super) const COMMAND: &str = "bench-model";

const DIFFERS: u8 = 1;

/// Measures an archive's network in this process: every file in it that a runtime here opens, in every way that
/// it can be run, in turns on the same inputs.
///
/// The inputs are the archive's samples as its handler prepares them, else made-up numbers of the shapes that the
/// network takes.
///
/// Exit status: 0 measured, 1 answers differ by more than --min-parity allows, 2 nothing was measured.
#[derive(Debug, Parser)]
#[command(name = "marserve bench-model", bin_name = "marserve bench-model")]
struct Args {
    /// The archive: a .mar, a .tar.gz or a folder
    archive: PathBuf,

    /// Requests in a batch
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 4, 16], value_parser = count)]
    batch_sizes: Vec<usize>,

    /// Threads of a forward pass on the processor [default: 1, and as many as there are cores]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = threads)]
    threads: Vec<usize>,

    /// Seconds that each row is measured for; three passes at least
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,

    /// Where the network runs: cpu, or cuda:0 and so on [default: where the server would run it]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<Device>,

    /// The sides of an input without the batch's, such as x=3,96,128; made-up numbers instead of samples
    #[arg(long, value_name = "NAME=SIDES", value_parser = shape)]
    shape: Vec<(String, Vec<usize>)>,

    /// Measure what the handler does with a batch on a worker, with its arg-max or top-k, not the network alone
    #[arg(long)]
    through_handler: bool,

    /// The handler, instead of the manifest's
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,

    /// End with 1 where less than this share of an answer is the first file's, such as 0.999, or where a file
    /// that would be compared does not run
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_parity: Option<f64>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Printed<'a> {
    Measured(&'a Measured),
    Differs {
        reason: &'a str,
        #[serde(flatten)]
        measured: &'a Measured,
    },
    NotMeasured {
        reason: &'a str,
    },
}

/// Runs the command; `arguments` are those after its name.
pub(super) fn run(
    arguments: &[OsString],
    handlers: Vec<Registration>,
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> ExitCode {
    let args: Args = match parse(COMMAND, arguments) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let (json, min_parity) = (args.json, args.min_parity);
    let not_measured = |reason: &str| {
        if json {
            print_json(&Printed::NotMeasured { reason });
        }
        report_failure(&anyhow!("not measured: {}", one_line(reason)));
        ExitCode::from(NOTHING_DONE)
    };
    let measured = match measure(&args.request(), handlers, runtimes(), &mut tell) {
        Ok(measured) => measured,
        Err(error) => {
            // The causes too.
            return not_measured(&format!("{:#}", anyhow::Error::new(error)));
        }
    };
    if measured.rows.is_empty() {
        let reasons = measured.not_measured.iter().map(|of| format!("{}: {}", of.file, of.reason));
        return not_measured(&reasons.collect::<Vec<_>>().join("; "));
    }
    let missed = min_parity.and_then(|least| missed(&measured, least));
    match (&missed, json) {
        (None, true) => print_json(&Printed::Measured(&measured)),
        (Some(reason), true) => print_json(&Printed::Differs { reason, measured: &measured }),
        (_, false) => {
            say(&table::table(&measured));
            for line in table::answer(&measured) {
                say(&line);
            }
        }
    }
    match missed {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            report_failure(&anyhow!(reason));
            ExitCode::from(DIFFERS)
        }
    }
}

impl Args {
    fn request(self) -> MeasureRequest {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads = self.threads;
        if threads.is_empty() {
            threads = if cores > 1 { vec![1, cores] } else { vec![1] };
        }
        MeasureRequest {
            archive: self.archive,
            device: self.device,
            handler: self.handler,
            batch_sizes: self.batch_sizes,
            threads,
            time: self.seconds,
            shapes: self.shape,
            through_handler: self.through_handler,
            temp_dir: std::env::temp_dir(),
        }
    }
}

/// Says what is being done, where somebody waits for it.
fn tell(what: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        writeln!(out, "marserve: measuring: {what}").ok();
    }
}

/// Why the answers are not alike enough, where they are not.
fn missed(measured: &Measured, least: f64) -> Option<String> {
    let told = |file: &str, variant: &str| one_line(format_args!("{file} ({variant})"));
    let below = measured.rows.iter().find_map(|row| {
        let parity = row.parity.as_ref().filter(|parity| parity.same < least)?;
        let note = parity.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        Some(format!(
            "{} at batch {}: {} of the answer are the first file's, and --min-parity is {least}{note}",
            told(&row.file, &row.variant),
            row.batch_size,
            table::share(parity.same),
        ))
    });
    let failed = || {
        let failed = measured.not_measured.iter().find(|of| of.failed)?;
        let variant = failed.variant.as_deref().unwrap_or("in any way");
        let told = told(&failed.file, variant);
        Some(format!(
            "{told} did not run, so its answer is not the first file's: {}",
            failed.reason
        ))
    };
    let alone = || {
        let compared = measured.rows.iter().any(|row| row.parity.is_some());
        (!compared).then(|| "one file was run in one way, so no answers were compared".to_owned())
    };
    below.or_else(failed).or_else(alone).map(one_line)
}

fn count(text: &str) -> Result<usize, String> {
    up_to(4096, text)
}

/// As many as an archive may ask for.
fn threads(text: &str) -> Result<usize, String> {
    up_to(1024, text)
}

fn up_to(most: usize, text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("give numbers from 1 to {most}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| *number > 0.0 && *number <= 600.0);
    number.map(Duration::from_secs_f64).ok_or_else(|| "give a number above 0, 600 at most".into())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "give a number from 0 to 1".into())
}

/// `NAME=3,96,128`.
fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, sides)| {
        let sides = if sides.is_empty() {
            Vec::new()
        } else {
            sides.split(',').map(|side| side.trim().parse().ok()).collect::<Option<_>>()?
        };
        (!name.is_empty()).then(|| (name.to_owned(), sides))
    });
    parsed.ok_or_else(|| "give the input's name and its sides, such as x=3,96,128".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused_with_an_example() {
        assert_eq!(shape("x=3,96, 128"), Ok(("x".into(), vec![3, 96, 128])));
        assert_eq!(shape("a=b=1"), Ok(("a=b".into(), vec![1])));
        assert_eq!(shape("scalar="), Ok(("scalar".into(), vec![])));
        for wrong in ["3,96", "=3", "x=3,,4", "x=-1", "x=?"] {
            assert!(shape(wrong).unwrap_err().contains("x=3,96,128"), "{wrong}");
        }
        assert_eq!(seconds("0.05"), Ok(Duration::from_millis(50)));
        for wrong in ["0", "-1", "NaN", "inf", "601", "s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!((count("16"), share("0.999")), (Ok(16), Ok(0.999)));
        assert!(count("0").is_err() && count("5000").is_err());
        assert!(threads("1024").is_ok() && threads("1025").is_err());
        assert!(share("1.1").is_err() && share("NaN").is_err());
    }
}
