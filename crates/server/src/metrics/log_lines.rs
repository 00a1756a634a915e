//! Figures as TorchServe's metrics log has them: `Name.Unit:value|#Level:Host|#hostname:h,timestamp:epoch`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::names::Kind;
use super::page::{Figures, Sample, number};

/// The target of these lines in the log.
pub(crate) const TARGET: &str = "metrics";

/// What was last told of everything that only rises, by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, f64>);

impl Told {
    /// A line for each figure. Of what only rises a line has the rise since the last time, so that the
    /// sum of the lines is the count, as it is with TorchServe's line for each event. What did not rise
    /// has no line, and neither has a figure of the server's own that is 0.
    pub(crate) fn lines(&mut self, page: &[Figures], hostname: &str, now: i64) -> Vec<String> {
        let mut lines = Vec::new();
        for Figures { family, samples } in page {
            for sample in samples.iter().filter(|sample| sample.suffix != "_bucket") {
                let unit = if sample.suffix == "_count" { "Count" } else { family.unit };
                let name = format!("{}{}.{unit}", family.name, sample.suffix);
                let labels = labels(sample);
                let rises = family.kind != Kind::Gauge;
                let value = if rises {
                    let last = self.0.insert(format!("{name}|{labels}"), sample.value);
                    sample.value - last.unwrap_or(0.0)
                } else {
                    sample.value
                };
                if value != 0.0 || !rises && family.is_torchserves() {
                    let value = number(value);
                    lines.push(format!(
                        "{name}:{value}|#{labels}|#hostname:{hostname},timestamp:{now}"
                    ));
                }
            }
        }
        lines
    }
}

/// The labels but for the host's name, which every line ends with.
fn labels(sample: &Sample) -> String {
    let mut text = String::new();
    let labels = sample.labels.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("hostname"));
    for (name, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing into a string does not fail.
        write!(text, "{comma}{name}:{value}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    fn page(replies: f64, queue_time: f64) -> Vec<Figures> {
        let count = |value| Sample {
            suffix: "_count",
            labels: vec![("model_name", "m".into()), ("model_version", "1.0".into())],
            value,
        };
        let host = ["Host", "box"];
        let of = |family, labels: &[&str], value| Figures {
            family,
            samples: vec![Sample::of(family, labels, value)],
        };
        vec![
            of(&names::REQUESTS_2XX, &host, replies),
            of(&names::TS_REQUESTS, &["m", "default", "box"], replies),
            of(&names::QUEUE_TIME, &host, queue_time),
            of(&names::QUEUE_DEPTH, &["m", "1.0"], 0.0),
            Figures { family: &names::BATCH_SIZE, samples: vec![count(replies)] },
        ]
    }

    #[test]
    fn lines_have_torchserves_form() {
        let lines = Told::default().lines(&page(2.0, 0.5), "box", 1_700_000_000);
        // The form of TorchServe's documentation of its metrics log.
        assert_eq!(
            lines,
            [
                "Requests2XX.Count:2.0|#Level:Host|#hostname:box,timestamp:1700000000",
                "ts_inference_requests_total.Count:2.0|#model_name:m,model_version:default|#hostname:box,timestamp:1700000000",
                "QueueTime.Milliseconds:0.5|#Level:Host|#hostname:box,timestamp:1700000000",
                "marserve_batch_size_count.Count:2.0|#model_name:m,model_version:1.0|#hostname:box,timestamp:1700000000",
            ]
        );
    }

    #[test]
    fn the_sum_of_a_counters_lines_is_its_count() {
        let mut told = Told::default();
        let mut first_words = |replies| {
            let lines = told.lines(&page(replies, 0.0), "box", 0);
            lines.iter().map(|line| line.split('|').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(first_words(2.0)[0], "Requests2XX.Count:2.0");
        assert_eq!(first_words(7.0)[0], "Requests2XX.Count:5.0");
        assert_eq!(first_words(7.0), ["QueueTime.Milliseconds:0.0"], "nothing rose");
    }
}
