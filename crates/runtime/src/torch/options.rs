//! What a network may ask of libtorch: by the names that Triton's PyTorch backend gives it, and how far it is
//! optimised.

use std::time::Duration;

use mar_handler::{Device, Error, LoadSpec, Result};
use serde_json::{Map, Value};

use super::error::first_cause;
use super::form::Form;
use crate::options::text;

/// What is made of a network when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Optimise {
    /// Whatever is the fastest.
    Auto,
    /// This, or nothing.
    Only(Form),
}

/// What holds for the forward passes of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Threads of a forward pass on the processor, whatever its share of the cores.
    pub(crate) threads: Option<usize>,
    /// Whether the graph is optimised before it runs.
    pub(crate) optimises: bool,
    /// What is made of it when it is loaded.
    pub(crate) optimise: Optimise,
    /// How long its forms are timed then, all of them together.
    pub(crate) time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let time = Duration::from_millis(500);
        Self { threads: None, optimises: true, optimise: Optimise::Auto, time }
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
/// What is made of a network.
pub(crate) const OPTIMIZE: &str = "optimize";
/// How long forms are timed.
pub(crate) const OPTIMIZE_SECONDS: &str = "optimize_seconds";
/// Nobody waits longer for a load.
const MOST_SECONDS: f64 = 60.0;

impl Options {
    /// Reads what is asked for, and whether it can be had on the device.
    pub(crate) fn of(spec: &LoadSpec) -> Result<Self> {
        let options = Self::read(&spec.options, tch::get_num_interop_threads)?;
        match (options.optimise, spec.device) {
            (Optimise::Only(form), device @ Device::Cuda(_)) if !form.is_for(device) => {
                let advice =
                    format!("that is for the processor; write auto, none or freeze on {device}");
                Err(refused(OPTIMIZE, form.name(), &advice))
            }
            _ => Ok(options),
        }
    }

    /// Makes them hold on the calling thread, whose setting the number of threads is, and whether graphs are
    /// optimised.
    pub(crate) fn use_threads(&self, threads: usize) {
        if let Err(error) = tch::jit::f_set_graph_executor_optimize(self.optimises) {
            let cause = first_cause(&error.to_string());
            log::warn!("graphs are optimised or not as before: {cause}");
        }
        let threads = self.threads.unwrap_or(threads);
        tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
    }

    /// Reads what is asked for. `inter_op_threads` is what the process has of them.
    fn read(asked: &Map<String, Value>, inter_op_threads: impl FnOnce() -> i32) -> Result<Self> {
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
            } else if name == OPTIMIZE {
                options.optimise = optimise(value)?;
            } else if name == OPTIMIZE_SECONDS {
                let seconds = value.trim().parse().ok();
                let seconds = seconds.filter(|of: &f64| *of > 0.0 && *of <= MOST_SECONDS);
                let advice = format!("give a number above 0, and up to {MOST_SECONDS}");
                options.time = seconds
                    .map(Duration::from_secs_f64)
                    .ok_or_else(|| refused(name, value, &advice))?;
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

fn optimise(value: &str) -> Result<Optimise> {
    let word = value.trim();
    if word.eq_ignore_ascii_case("auto") {
        return Ok(Optimise::Auto);
    }
    let form = Form::ALL.into_iter().find(|form| word.eq_ignore_ascii_case(form.name()));
    form.map(Optimise::Only).ok_or_else(|| {
        let names = Form::ALL.map(Form::name).join(", ");
        refused(OPTIMIZE, value, &format!("write auto, or one of {names}"))
    })
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
    let others =
        [DISABLE_OPTIMIZED, INTRA_OP_THREADS, INTER_OP_THREADS, OPTIMIZE, OPTIMIZE_SECONDS];
    let known: Vec<&str> = switches.chain(others).collect();
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
        let told = Options { threads: Some(3), optimises: false, ..Options::default() };
        assert_eq!(asked, Ok(told));
    }

    #[test]
    fn how_far_a_network_is_optimised_is_asked_for_by_name() {
        let of = |asked: &[(&str, &str)]| read(asked).map(|of| (of.optimise, of.time));
        let half = Duration::from_millis(500);
        assert_eq!(of(&[]), Ok((Optimise::Auto, half)));
        assert_eq!(of(&[("optimize", "AUTO")]), Ok((Optimise::Auto, half)));
        for form in Form::ALL {
            assert_eq!(of(&[("optimize", form.name())]), Ok((Optimise::Only(form), half)));
        }
        let longer = of(&[("optimize_seconds", "2.5")]);
        assert_eq!(longer, Ok((Optimise::Auto, Duration::from_millis(2500))));
    }

    #[test]
    fn what_is_made_for_the_processor_is_refused_elsewhere() {
        let of = |form: Form, device| {
            let options = Map::from_iter([("optimize".to_owned(), form.name().into())]);
            Options::of(&LoadSpec { device, options, ..LoadSpec::new("x.pt") })
        };
        for form in Form::ALL {
            of(form, Device::Cpu).unwrap();
        }
        of(Form::Plain, Device::Cuda(0)).unwrap();
        of(Form::Frozen, Device::Cuda(0)).unwrap();
        for form in [Form::ChannelsLast, Form::Inference] {
            let error = of(form, Device::Cuda(1)).unwrap_err();
            assert!(error.message().ends_with("auto, none or freeze on cuda:1"), "{error}");
        }
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
            ("optimize", "fast", "auto, or one of none, freeze, channels_last, inference"),
            ("optimize_seconds", "0", "give a number above 0, and up to 60"),
            ("optimize_seconds", "NaN", "give a number above 0, and up to 60"),
            ("optimize_seconds", "61", "give a number above 0, and up to 60"),
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
