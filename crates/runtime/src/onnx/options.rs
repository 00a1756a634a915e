//! How a session runs: this server's settings, and Triton's parameters for its ONNX Runtime backend.

use mar_handler::{Error, Result};
use ort::AsPointer;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde_json::{Map, Value};

use crate::options::text;

/// The parameters that are understood, as Triton's `config.pbtxt` spells them.
const KNOWN: [&str; 6] = [
    "enable_mem_arena",
    "enable_mem_pattern",
    "execution_mode",
    "inter_op_thread_count",
    "intra_op_thread_count",
    "providers",
];

/// What a session is told. The defaults are ONNX Runtime's, but for the threads: they are as
/// many as the worker has, and sleep while they wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    intra_op_threads: usize,
    inter_op_threads: usize,
    parallel: bool,
    arena: bool,
    pattern: bool,
}

impl Options {
    /// The parameters of a model, on a worker's share of the threads. 0 and -1 stand for what is there without them.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) for a parameter or a value that is not known.
    pub(super) fn new(parameters: &Map<String, Value>, threads: usize) -> Result<Self> {
        let mut options = Self {
            intra_op_threads: threads.max(1),
            inter_op_threads: 1,
            parallel: false,
            arena: true,
            pattern: true,
        };
        // Who executes it is read elsewhere: `providers`.
        for (key, value) in parameters.iter().filter(|(key, _)| *key != "providers") {
            let value = &*text(key, value)?;
            match key.as_str() {
                "intra_op_thread_count" => {
                    options.intra_op_threads =
                        count(key, value)?.unwrap_or(options.intra_op_threads);
                }
                "inter_op_thread_count" => {
                    options.inter_op_threads =
                        count(key, value)?.unwrap_or(options.inter_op_threads);
                }
                "execution_mode" => options.parallel = switch(key, value)?,
                "enable_mem_arena" => options.arena = switch(key, value)?,
                "enable_mem_pattern" => options.pattern = switch(key, value)?,
                _ => {
                    return Err(Error::invalid_model(format!(
                        "parameter \"{key}\" is not known to ONNX Runtime here; known: {}",
                        KNOWN.join(", ")
                    )));
                }
            }
        }
        Ok(options)
    }

    /// Tells a session that is being made.
    pub(super) fn apply(&self, builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.intra_op_threads)?
            .with_inter_threads(self.inter_op_threads)?
            .with_parallel_execution(self.parallel)?
            // The cores have other work while a thread waits: images to decode, other models to run.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(self.pattern)?;
        if !self.arena {
            #[expect(unsafe_code, reason = "ort has no method for it")]
            // SAFETY: the options belong to the builder, which lives and which nobody else has.
            unsafe {
                let status = (ort::api().DisableCpuMemArena)(builder.ptr_mut());
                ort::Error::result_from_status(status)?;
            }
        }
        Ok(builder)
    }
}

fn count(key: &str, value: &str) -> Result<Option<usize>> {
    match value.trim().parse::<i64>() {
        Ok(-1 | 0) => Ok(None),
        Ok(count @ 1..=1024) => Ok(usize::try_from(count).ok()),
        _ => Err(wrong(
            key,
            value,
            "a number of threads, at most 1024, or 0 for this server's choice",
        )),
    }
}

fn switch(key: &str, value: &str) -> Result<bool> {
    match value.trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(wrong(key, value, "0 or 1")),
    }
}

fn wrong(key: &str, value: &str, is: &str) -> Error {
    Error::invalid_model(format!("parameter \"{key}\" is \"{value}\"; it has to be {is}"))
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;

    use super::*;

    fn of(parameters: &[(&str, &str)]) -> Result<Options> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), Value::from(*value));
        Options::new(&parameters.iter().map(pair).collect(), 3)
    }

    #[test]
    fn a_session_has_the_workers_threads_unless_it_is_told_otherwise() {
        let plain = of(&[]).unwrap();
        assert_eq!((plain.intra_op_threads, plain.inter_op_threads), (3, 1));
        assert!(plain.arena && plain.pattern && !plain.parallel);
        let none = [("intra_op_thread_count", "0"), ("inter_op_thread_count", "-1")];
        assert_eq!(of(&none).unwrap(), plain, "as ONNX Runtime's own defaults are spelled");
        let told = of(&[
            ("intra_op_thread_count", "2"),
            ("inter_op_thread_count", "4"),
            ("execution_mode", "1"),
            ("enable_mem_arena", "0"),
            ("enable_mem_pattern", "0"),
        ]);
        let expected = Options {
            intra_op_threads: 2,
            inter_op_threads: 4,
            parallel: true,
            arena: false,
            pattern: false,
        };
        assert_eq!(told.unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (key, value) in [
            ("memory.enable_memory_arena_shrinkage", "cpu:0"),
            ("gpu_mem_limit", "1"),
            ("intra_op_thread_count", "many"),
            ("intra_op_thread_count", "100000"),
            ("execution_mode", "2"),
            ("enable_mem_arena", "true"),
        ] {
            let error = of(&[(key, value)]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(key), "{error}");
        }
    }
}
