//! How a session runs: this server's settings, and Triton's parameters for its ONNX Runtime backend.

use mar_handler::{Error, Result};
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use serde_json::{Map, Value};

use super::level::Level;
use crate::options::text;

/// The parameters that are understood, as Triton's `config.pbtxt` spells them.
const KNOWN: [&str; 7] = [
    "enable_mem_arena",
    "enable_mem_pattern",
    "execution_mode",
    "graph_optimization_level",
    "inter_op_thread_count",
    "intra_op_thread_count",
    "providers",
];

/// What a session is told. The defaults are ONNX Runtime's, but for the threads: they are as
/// many as the worker has, and sleep while they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) level: Level,
    pub(super) threads: Threads,
    inter_op_threads: usize,
    parallel: bool,
    arena: bool,
    pattern: bool,
}

/// Threads of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// As many as the worker has, as things are now.
    OfWorker(usize),
    /// What was asked for, whatever the worker has.
    ByHand(usize),
}

impl Threads {
    pub(super) fn count(self) -> usize {
        match self {
            Self::OfWorker(count) | Self::ByHand(count) => count,
        }
    }
}

impl Options {
    /// The parameters of a model, on a worker's share of the threads. 0 and -1 stand for what is there without them.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) for a parameter or a value that is not known.
    pub(super) fn new(parameters: &Map<String, Value>, threads: usize) -> Result<Self> {
        let mut options = Self {
            level: Level::All,
            threads: Threads::OfWorker(threads.max(1)),
            inter_op_threads: 1,
            parallel: false,
            arena: true,
            pattern: true,
        };
        // Who executes it is read elsewhere: `providers`.
        for (key, value) in parameters.iter().filter(|(key, _)| *key != "providers") {
            let value = &*text(key, value)?;
            match key.as_str() {
                "graph_optimization_level" => options.level = Level::parse(key, value)?,
                "intra_op_thread_count" => {
                    options.threads = count(key, value)?.map_or(options.threads, Threads::ByHand);
                }
                "inter_op_thread_count" => {
                    options.inter_op_threads =
                        count(key, value)?.unwrap_or(options.inter_op_threads);
                }
                "execution_mode" => {
                    options.parallel = one_of(key, value, ["sequential", "parallel"])?;
                }
                "enable_mem_arena" => options.arena = one_of(key, value, ["false", "true"])?,
                "enable_mem_pattern" => options.pattern = one_of(key, value, ["false", "true"])?,
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

    /// What is to be said where threads are asked for that will have nothing to do.
    pub(super) fn idle_threads(&self) -> Option<String> {
        (self.inter_op_threads > 1 && !self.parallel).then(|| {
            format!(
                "inter_op_thread_count {} does nothing without execution_mode: parallel",
                self.inter_op_threads
            )
        })
    }

    /// What there is to say of a session with them.
    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("graph_optimization_level".to_owned(), self.level.name().into());
        told.insert("intra_op_thread_count".to_owned(), self.threads.count().into());
        if self.parallel {
            told.insert("execution_mode".to_owned(), "parallel".into());
            told.insert("inter_op_thread_count".to_owned(), self.inter_op_threads.into());
        }
        told
    }

    /// Tells a session that is being made.
    pub(super) fn apply(&self, builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        let mut builder = builder
            .with_optimization_level(self.level.into())?
            .with_intra_threads(self.threads.count())?
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

/// Whether it is the second of two words, or Triton's 1 for it.
fn one_of(key: &str, value: &str, [first, second]: [&str; 2]) -> Result<bool> {
    match value.trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        word if word.eq_ignore_ascii_case(first) => Ok(false),
        word if word.eq_ignore_ascii_case(second) => Ok(true),
        _ => Err(wrong(key, value, &format!("0 or 1, or {first} or {second}"))),
    }
}

pub(super) fn wrong(key: &str, value: &str, is: &str) -> Error {
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
        assert_eq!((plain.threads, plain.inter_op_threads), (Threads::OfWorker(3), 1));
        assert!(plain.arena && plain.pattern && !plain.parallel);
        assert_eq!(plain.level, Level::All);
        let none = [("intra_op_thread_count", "0"), ("inter_op_thread_count", "-1")];
        assert_eq!(of(&none).unwrap(), plain, "as ONNX Runtime's own defaults are spelled");
        let told = of(&[
            ("intra_op_thread_count", "2"),
            ("inter_op_thread_count", "4"),
            ("execution_mode", "1"),
            ("enable_mem_arena", "0"),
            ("enable_mem_pattern", "0"),
            ("graph_optimization_level", "extended"),
        ]);
        let expected = Options {
            level: Level::Extended,
            threads: Threads::ByHand(2),
            inter_op_threads: 4,
            parallel: true,
            arena: false,
            pattern: false,
        };
        assert_eq!(told.unwrap(), expected);
    }

    #[test]
    fn what_is_on_or_off_may_be_said_in_words() {
        for (parallel, on) in [("parallel", "true"), ("1", "1"), ("Parallel", "True")] {
            let words = [("execution_mode", parallel), ("enable_mem_arena", on)];
            let options = of(&words).unwrap();
            assert!(options.parallel && options.arena, "{words:?}");
        }
        for (sequential, off) in [("sequential", "false"), ("0", "0")] {
            let words = [("execution_mode", sequential), ("enable_mem_pattern", off)];
            let options = of(&words).unwrap();
            assert!(!options.parallel && !options.pattern, "{words:?}");
        }
        let idle = of(&[("inter_op_thread_count", "4")]).unwrap();
        assert!(idle.idle_threads().unwrap().contains("execution_mode"));
        let used = [("inter_op_thread_count", "4"), ("execution_mode", "parallel")];
        assert_eq!(of(&used).unwrap().idle_threads(), None);
        assert_eq!(of(&[]).unwrap().idle_threads(), None);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (key, value) in [
            ("memory.enable_memory_arena_shrinkage", "cpu:0"),
            ("gpu_mem_limit", "1"),
            ("intra_op_thread_count", "many"),
            ("intra_op_thread_count", "100000"),
            ("execution_mode", "2"),
            ("enable_mem_arena", "sometimes"),
            ("graph_optimization_level", "99"),
            ("graph_optimization_level", "most"),
        ] {
            let error = of(&[(key, value)]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(key), "{error}");
        }
    }
}
