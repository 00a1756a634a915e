//! Figures with their values at one moment, and how they are written: Prometheus' text format 0.0.4 as
//! TorchServe's Java client writes it, with a comma after every label and numbers as Java has them.

use super::names::Family;

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// What follows the family's name: nothing, or `_bucket`, `_sum`, `_count` of a histogram.
    pub(crate) suffix: &'static str,
    /// In the order in which they are written.
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// A plain figure, with a value for each of the family's labels.
    pub(crate) fn of(family: &Family, labels: &[&str], value: f64) -> Self {
        let labels = labels.iter().map(|&label| label.to_owned());
        Self { suffix: "", labels: family.labels.iter().copied().zip(labels).collect(), value }
    }
}

/// A family and its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) family: &'static Family,
    pub(crate) samples: Vec<Sample>,
}

/// The page. Where names are given, it holds the samples of these names and the families of these names.
pub(crate) fn text(page: &[Figures], names: &[String]) -> String {
    let mut text = String::new();
    for Figures { family, samples } in page {
        let whole = names.is_empty() || names.iter().any(|name| name == family.name);
        let mut chosen = samples
            .iter()
            .filter(|sample| {
                whole || names.iter().any(|name| is_called(name, family.name, sample.suffix))
            })
            .peekable();
        if whole || chosen.peek().is_some() {
            head(&mut text, family);
        }
        for sample in chosen {
            line(&mut text, family.name, sample);
        }
    }
    text
}

fn is_called(name: &str, family: &str, suffix: &str) -> bool {
    name.strip_prefix(family) == Some(suffix)
}

fn head(text: &mut String, family: &Family) {
    text.push_str("# HELP ");
    text.push_str(family.name);
    text.push(' ');
    escaped(text, &family.help(), false);
    text.push_str("\n# TYPE ");
    text.push_str(family.name);
    text.push(' ');
    text.push_str(family.kind.name());
    text.push('\n');
}

fn line(text: &mut String, family: &str, sample: &Sample) {
    text.push_str(family);
    text.push_str(sample.suffix);
    if !sample.labels.is_empty() {
        text.push('{');
        for (name, value) in &sample.labels {
            text.push_str(name);
            text.push_str("=\"");
            escaped(text, value, true);
            text.push_str("\",");
        }
        text.push('}');
    }
    text.push(' ');
    text.push_str(&number(sample.value));
    text.push('\n');
}

/// Quotes are escaped in the values of labels, not in help.
fn escaped(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

/// A number as Java's `Double.toString` has it: always with a fraction, and with an exponent from ten
/// millions on and below a thousandth.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        format!("{value:?}")
    } else {
        let text = format!("{value:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => {
                format!("{digits}.0E{exponent}")
            }
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    fn page() -> Vec<Figures> {
        let bucket = |le: &str, value| Sample {
            suffix: "_bucket",
            labels: vec![
                ("model_name", "m".into()),
                ("model_version", "1.0".into()),
                ("le", le.into()),
            ],
            value,
        };
        vec![
            Figures {
                family: &names::REQUESTS_2XX,
                samples: vec![Sample::of(&names::REQUESTS_2XX, &["Host", "box"], 8.0)],
            },
            Figures { family: &names::QUEUE_TIME, samples: Vec::new() },
            Figures {
                family: &names::BATCH_SIZE,
                samples: vec![
                    bucket("1.0", 2.0),
                    bucket("+Inf", 3.0),
                    Sample { suffix: "_count", labels: Vec::new(), value: 3.0 },
                ],
            },
        ]
    }

    #[test]
    fn the_page_is_written_as_torchserve_writes_it() {
        let text = text(&page(), &[]);
        // The lines that TorchServe's documentation and its Postman suite have.
        assert!(text.starts_with(
            "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n\
             # TYPE Requests2XX counter\n\
             Requests2XX{Level=\"Host\",Hostname=\"box\",} 8.0\n"
        ));
        assert!(text.contains(
            "# HELP QueueTime Torchserve prometheus gauge metric with unit: Milliseconds\n\
             # TYPE QueueTime gauge\n#"
        ));
        assert!(text.ends_with(
            "# TYPE marserve_batch_size histogram\n\
             marserve_batch_size_bucket{model_name=\"m\",model_version=\"1.0\",le=\"1.0\",} 2.0\n\
             marserve_batch_size_bucket{model_name=\"m\",model_version=\"1.0\",le=\"+Inf\",} 3.0\n\
             marserve_batch_size_count 3.0\n"
        ));
    }

    #[test]
    fn names_choose_samples_and_families() {
        let lines = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            text(&page(), &names).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(&["Requests2XX"]).len(), 3);
        assert_eq!(lines(&["QueueTime"]).len(), 2, "a known name without numbers has its head");
        assert_eq!(lines(&["marserve_batch_size_count", "Requests2XX"]).len(), 6);
        assert_eq!(lines(&["marserve_batch_size"]).len(), 5);
        for other in ["Requests", "Requests2XX_count", "nothing", ""] {
            assert_eq!(lines(&[other]), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn label_values_cannot_break_a_line() {
        let sample = Sample::of(&names::HANDLER_TIME, &["a\"b\\c\nd", "Model", "h"], 1.5);
        let page = [Figures { family: &names::HANDLER_TIME, samples: vec![sample] }];
        let text = text(&page, &[]);
        let last = text.lines().last();
        let expected = r#"HandlerTime{ModelName="a\"b\\c\nd",Level="Model",Hostname="h",} 1.5"#;
        assert_eq!(last, Some(expected));
    }

    #[test]
    fn numbers_are_javas() {
        // What Double.toString is specified to give.
        for (value, text) in [
            (0.0, "0.0"),
            (8.0, "8.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (12_345_678.0, "1.2345678E7"),
            (-12_345_678.5, "-1.23456785E7"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
