//! `marserve check`: an archive's known answers, replayed here without a server.
//!
//! Ends with 0 where all are reproduced, with 1 where one differs, with 2 where they could not be checked.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Parser;
use comfy_table::{ContentArrangement, Table, presets};
use mar_engine::{
    CheckRequest, Checked, Device, FirstDifference, Registration, Runtime, StageVerdict, check,
};
use serde::Serialize;

use super::{NOTHING_DONE, device, parse, print_json, report_failure, say};
use crate::logging::one_line;

/// The first argument that asks for it.
pub(super) const COMMAND: &str = "check";

const DIFFERS: u8 = 1;
/// Columns of the table at most; what is longer is broken.
const WIDTH: u16 = 140;

/// Replays the known answers of an archive, stage by stage, and names the first stage that differs.
///
/// Exit status: 0 all are reproduced, 1 one differs, 2 they could not be checked.
#[derive(Debug, Parser)]
#[command(name = "marserve check", bin_name = "marserve check")]
struct Args {
    /// The archive: a .mar, a .tar.gz or a folder
    archive: PathBuf,

    /// Where the model runs: cpu, or cuda:0 and so on [default: where the server would run it]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<Device>,

    /// The handler, instead of the manifest's
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Printed<'a> {
    Reproduced(&'a Checked),
    Differs {
        first_difference: &'a FirstDifference,
        #[serde(flatten)]
        checked: &'a Checked,
    },
    NotChecked {
        reason: String,
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
    let request = CheckRequest {
        archive: args.archive,
        device: args.device,
        handler: args.handler,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        temp_dir: std::env::temp_dir(),
    };
    match check(&request, handlers, runtimes()) {
        Ok(checked) => {
            let first = checked.first_difference();
            if args.json {
                print_json(&match &first {
                    Some(first_difference) => {
                        Printed::Differs { first_difference, checked: &checked }
                    }
                    None => Printed::Reproduced(&checked),
                });
            } else {
                say(&table(&checked));
                say(&ran_on(&checked));
                say(&verdict(&checked, first.as_ref()));
            }
            ExitCode::from(if first.is_some() { DIFFERS } else { 0 })
        }
        Err(error) => {
            if args.json {
                print_json(&Printed::NotChecked { reason: error.message().to_owned() });
            }
            let error = anyhow::Error::new(error);
            report_failure(&anyhow!("not checked: {}", one_line(format_args!("{error:#}"))));
            ExitCode::from(NOTHING_DONE)
        }
    }
}

/// A row for each stage of each sample.
fn table(checked: &Checked) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["sample", "stage", "verdict", "figures"]);
    for sample in &checked.samples {
        for stage in &sample.stages {
            let verdict = match stage.verdict {
                StageVerdict::Reproduced => "reproduced",
                StageVerdict::Differs => "differs",
                StageVerdict::NotCompared => "not compared",
            };
            let [name, stage, figures] =
                [&sample.sample, &stage.stage, &stage.figures].map(one_line);
            table.add_row([&name, &stage, verdict, &figures]);
        }
    }
    table.to_string()
}

fn ran_on(checked: &Checked) -> String {
    one_line(format_args!("run by {} on {}", checked.execution, checked.device))
}

fn verdict(checked: &Checked, first: Option<&FirstDifference>) -> String {
    let Checked { model, version, device, samples, .. } = checked;
    let found = match (first, samples.len()) {
        (Some(first), _) => first.to_string(),
        (None, 1) => "the known answers of the sample are reproduced".into(),
        (None, several) => format!("the known answers of all {several} samples are reproduced"),
    };
    let stages = samples.iter().flat_map(|sample| &sample.stages);
    let passed_over = stages.filter(|stage| stage.verdict == StageVerdict::NotCompared).count();
    let rest = match passed_over {
        0 => String::new(),
        1 => "; one stage was not compared".into(),
        several => format!("; {several} stages were not compared"),
    };
    one_line(format_args!("{model} {version} on {device}: {found}{rest}"))
}

#[cfg(test)]
mod tests {
    use mar_engine::{Execution, SampleReport, StageReport};

    use super::*;

    fn checked(version: &str, verdicts: &[StageVerdict]) -> Checked {
        let stages = verdicts.iter().map(|verdict| StageReport {
            stage: "resize".into(),
            verdict: *verdict,
            figures: "by 1".into(),
        });
        let (sample, made_by, stages) = ("a.jpg".into(), None, stages.collect());
        let samples = vec![SampleReport { sample, made_by, stages }];
        let execution = Execution { runtime: "fake", details: serde_json::Map::new() };
        let device = "cpu".into();
        Checked { model: "m".into(), version: version.into(), device, execution, samples }
    }

    #[test]
    fn the_last_line_says_what_was_not_compared_and_is_one_whatever_the_archive_holds() {
        use StageVerdict::{Differs, NotCompared, Reproduced};
        let told = |version, verdicts: &[StageVerdict]| {
            let checked = checked(version, verdicts);
            verdict(&checked, checked.first_difference().as_ref())
        };
        let reproduced = "m 1 on cpu: the known answers of the sample are reproduced";
        assert_eq!(told("1", &[Reproduced]), reproduced);
        assert_eq!(
            told("1", &[NotCompared, Reproduced]),
            format!("{reproduced}; one stage was not compared")
        );
        assert!(told("1", &[NotCompared; 2]).ends_with("; 2 stages were not compared"));
        let differs = told("\u{1b}[2J\n1", &[Reproduced, Differs]);
        let expected = r#"m \u{1b}[2J\n1 on cpu: sample "a.jpg" differs at resize: by 1"#;
        assert_eq!(differs, expected);
    }
}
