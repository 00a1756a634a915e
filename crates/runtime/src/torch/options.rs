//! What a network may ask of libtorch, by the names that Triton's PyTorch backend gives it.

use mar_handler::{Error, Result};
use serde_json::{Map, Value};

use crate::options::text;

/// What holds for the forward passes of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Threads of a forward pass on the processor, whatever its share of the cores.
    pub(crate) threads: Option<usize>,
    /// Whether the graph is optimised before it runs.
    pub(crate) optimises: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: None, optimises: true }
    }
}

/// What a switch does here.
#[derive(Clone, Copy)]
enum Switch {
    /// The same whether it is on or off.
    Either,
    /// What is done where it has this value; the other would hold for the networks beside this one too, or
    /// cannot be done.
    Only(bool),
}

/// Switches that are understood and change nothing. A network always runs without gradients, and its
/// weights are shared wherever its code allows.
const SWITCHES: [(&str, Switch); 6] = [
    ("INFERENCE_MODE", Switch::Either),
    ("ENABLE_WEIGHT_SHARING", Switch::Either),
    ("ENABLE_CACHE_CLEANING", Switch::Only(false)),
    ("ENABLE_JIT_EXECUTOR", Switch::Only(true)),
    ("ENABLE_JIT_PROFILING", Switch::Only(true)),
    ("DISABLE_CUDNN", Switch::Only(false)),
];
const DISABLE_OPTIMIZED: &str = "DISABLE_OPTIMIZED_EXECUTION";
const INTRA_OP_THREADS: &str = "INTRA_OP_THREAD_COUNT";
const INTER_OP_THREADS: &str = "INTER_OP_THREAD_COUNT";

impl Options {
    /// Reads what is asked for. `inter_op_threads` is what the process has of them.
    pub(crate) fn read(
        asked: &Map<String, Value>,
        inter_op_threads: impl FnOnce() -> i32,
    ) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in asked {
            let value = &*text(name, value)?;
            if let Some((_, switch)) = SWITCHES.iter().find(|(known, _)| known == name) {
                let is_on = truth(name, value)?;
                if let Switch::Only(wanted) = switch
                    && is_on != *wanted
                {
                    return Err(refused(name, value, &format!("leave it out, or write {wanted}")));
                }
            } else if name == DISABLE_OPTIMIZED {
                options.optimises = !truth(name, value)?;
            } else if name == INTRA_OP_THREADS {
                let count = value.trim().parse().ok().filter(|count| *count > 0);
                options.threads =
                    Some(count.ok_or_else(|| refused(name, value, "give a number from 1 on"))?);
            } else if name != INTER_OP_THREADS {
                return Err(unknown(name));
            }
        }
        if let Some(value) = asked.get(INTER_OP_THREADS) {
            let value = &*text(INTER_OP_THREADS, value)?;
            let here = inter_op_threads();
            if value.trim().parse() != Ok(here) {
                let advice = format!("the whole process has {here}; leave it out");
                return Err(refused(INTER_OP_THREADS, value, &advice));
            }
        }
        Ok(options)
    }
}

fn truth(name: &str, value: &str) -> Result<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refused(name, value, "write true or false")),
    }
}

fn refused(name: &str, value: &str, advice: &str) -> Error {
    Error::invalid_model(format!("parameter {name} is \"{value}\": {advice}"))
}

fn unknown(name: &str) -> Error {
    let switches = SWITCHES.iter().map(|(name, _)| *name);
    let known: Vec<&str> =
        switches.chain([DISABLE_OPTIMIZED, INTRA_OP_THREADS, INTER_OP_THREADS]).collect();
    Error::invalid_model(format!("no parameter {name} of libtorch; known: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: &[(&str, &str)]) -> Result<Options, String> {
        let asked = asked.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Options::read(&asked, || 4).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_changes_nothing_is_taken_and_what_does_is_heeded() {
        let plain = read(&[
            ("INFERENCE_MODE", "true"),
            ("ENABLE_WEIGHT_SHARING", "FALSE"),
            ("ENABLE_CACHE_CLEANING", "0"),
            ("ENABLE_JIT_EXECUTOR", "1"),
            ("ENABLE_JIT_PROFILING", "true"),
            ("DISABLE_CUDNN", "false"),
            ("INTER_OP_THREAD_COUNT", "4"),
        ]);
        assert_eq!(plain, Ok(Options::default()));
        let asked =
            read(&[("INTRA_OP_THREAD_COUNT", "3"), ("DISABLE_OPTIMIZED_EXECUTION", "true")]);
        assert_eq!(asked, Ok(Options { threads: Some(3), optimises: false }));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name_and_value() {
        for (name, value, words) in [
            ("DISABLE_CUDNN", "true", "leave it out, or write false"),
            ("ENABLE_JIT_EXECUTOR", "false", "leave it out, or write true"),
            ("INFERENCE_MODE", "maybe", "write true or false"),
            ("INTRA_OP_THREAD_COUNT", "0", "give a number from 1 on"),
            ("INTRA_OP_THREAD_COUNT", "-1", "give a number from 1 on"),
            ("INTER_OP_THREAD_COUNT", "2", "the whole process has 4"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(&format!("parameter {name} is \"{value}\": ")), "{error}");
            assert!(error.contains(words), "{error}");
        }
        let error = read(&[("ENABLE_TELEPATHY", "true")]).unwrap_err();
        assert!(error.contains("no parameter ENABLE_TELEPATHY"), "{error}");
        assert!(error.contains("INTRA_OP_THREAD_COUNT"), "{error}");
    }
}
