//! What is wrong with a network, as far as that can be told without running it.
//!
//! A problem is what ONNX Runtime would not load, or what must not be: each was tried on it. What it takes although
//! ONNX does not allow it is a warning.

mod ports;
mod versions;
mod weights;
mod wiring;

use crate::Network;

/// More are counted and not told.
const MOST: usize = 20;
/// The most characters of a name from a file that are shown.
const MAX_SHOWN: usize = 80;

/// What was found, a sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What keeps the network from being served, and what to do.
    pub problems: Vec<String>,
    /// What is odd, and does not keep it from that.
    pub warnings: Vec<String>,
}

/// Sentences, the first few of them.
#[derive(Debug, Default)]
struct List {
    told: Vec<String>,
    more: usize,
}

impl List {
    fn add(&mut self, sentence: String) {
        if self.told.len() < MOST {
            self.told.push(sentence);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more of that kind", self.more));
        }
        self.told
    }
}

/// Where the parts of a check put what they find.
#[derive(Debug, Default)]
struct Report {
    problems: List,
    warnings: List,
}

impl Report {
    fn finish(self) -> Findings {
        Findings { problems: self.problems.finish(), warnings: self.warnings.finish() }
    }
}

impl Network {
    /// Everything that can be told wrong without a runtime. `beside` tells how long a file is, by its name from the
    /// network's folder on; `None` where there is none.
    pub fn check(&self, beside: &dyn Fn(&str) -> Option<u64>) -> Findings {
        let mut report = Report::default();
        versions::check(self, &mut report);
        ports::check(&self.graph, &mut report);
        wiring::check(self, &mut report);
        weights::check(self, beside, &mut report);
        if self.strays > 0 {
            report.warnings.add(format!(
                "{} bytes are no part of a network; copy or export it again",
                self.strays
            ));
        }
        report.finish()
    }

    /// What is wrong with its weights and the files in which they lie, which is the part of [`Network::check`] that
    /// another version of ONNX Runtime changes nothing about.
    pub fn check_weights(&self, beside: &dyn Fn(&str) -> Option<u64>) -> Findings {
        let mut report = Report::default();
        weights::check(self, beside, &mut report);
        report.finish()
    }
}

/// A name from a file, in quotes, escaped and not too long.
pub(crate) fn quoted(name: &str) -> String {
    if name.chars().nth(MAX_SHOWN).is_none() {
        return format!("{name:?}");
    }
    let start: String = name.chars().take(MAX_SHOWN).collect();
    format!("{:?}", start + "...")
}
