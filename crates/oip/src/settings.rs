//! What clients may read and set of the log and of traces.

use std::collections::BTreeMap;

use log::LevelFilter;
use mar_engine::{Error, ErrorCode, Result};
use serde::Serialize;

use crate::Service;

/// What is logged. Levels are nested: whoever hears of information hears of warnings too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogSettings {
    /// A file; the server's standard error where it is empty, which it always is.
    pub log_file: String,
    /// Whether information is logged.
    pub log_info: bool,
    /// Whether warnings are.
    pub log_warning: bool,
    /// Whether errors are.
    pub log_error: bool,
    /// How much more: 1 for details, 2 for all of them.
    pub log_verbose_level: u32,
    /// The form of a line: always the server's own.
    pub log_format: String,
}

/// What a client sets of [`LogSettings`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[expect(missing_docs, reason = "the fields are those of LogSettings")]
pub struct LogChanges {
    pub log_file: Option<String>,
    pub log_info: Option<bool>,
    pub log_warning: Option<bool>,
    pub log_error: Option<bool>,
    pub log_verbose_level: Option<u32>,
    pub log_format: Option<String>,
}

/// One trace setting's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TraceValue {
    /// `trace_level`.
    List(Vec<String>),
    /// Every other one.
    Text(String),
}

/// Trace settings by name.
pub type TraceSettings = BTreeMap<&'static str, TraceValue>;

/// The one form of a line.
const LOG_FORMAT: &str = "default";

/// Trace settings as they always are: nothing is traced.
const TRACE: [(&str, &str); 6] = [
    ("log_frequency", "0"),
    ("trace_count", "-1"),
    ("trace_file", ""),
    ("trace_level", "OFF"),
    ("trace_mode", "triton"),
    ("trace_rate", "1000"),
];

impl Service {
    /// What is logged.
    pub fn log_settings(&self) -> LogSettings {
        LogSettings::of(log::max_level())
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] naming the setting that cannot be so.
    pub fn set_log_settings(&self, changes: &LogChanges) -> Result<LogSettings> {
        let level = changes.level(log::max_level())?;
        if level != log::max_level() {
            log::set_max_level(level);
            log::info!("a client set the log to {level}");
        }
        Ok(self.log_settings())
    }

    /// How requests are traced, those of one model or of all: not at all.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`].
    pub fn trace_settings(&self, model: Option<&str>) -> Result<TraceSettings> {
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            self.find(model, None)?;
        }
        let value = |name, value: &str| match name {
            "trace_level" => TraceValue::List(vec![value.to_owned()]),
            _ => TraceValue::Text(value.to_owned()),
        };
        Ok(TRACE.iter().map(|&(name, text)| (name, value(name, text))).collect())
    }

    /// Changes how requests are traced: only to what it is. A setting without values is put back to it.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`]; [`ErrorCode::InvalidInput`] naming a setting that there is not;
    /// [`ErrorCode::Unsupported`] naming one that cannot be so.
    pub fn set_trace_settings<'a>(
        &self,
        model: Option<&str>,
        changes: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<TraceSettings> {
        let settings = self.trace_settings(model)?;
        for (name, values) in changes {
            check_trace(name, values)?;
        }
        Ok(settings)
    }
}

fn check_trace(name: &str, values: &[String]) -> Result<()> {
    let Some((name, value)) = TRACE.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = TRACE.iter().map(|(name, _)| *name).collect();
        return Err(Error::invalid_input(format!(
            "unknown trace setting; known: {}",
            known.join(", ")
        )));
    };
    if values.iter().all(|given| given == value) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Unsupported,
        format!(
            "{name} stays {value:?}: requests are not traced; the log and the metrics tell where time goes"
        ),
    ))
}

impl LogSettings {
    fn of(level: LevelFilter) -> Self {
        Self {
            log_file: String::new(),
            log_info: level >= LevelFilter::Info,
            log_warning: level >= LevelFilter::Warn,
            log_error: level >= LevelFilter::Error,
            log_verbose_level: match level {
                LevelFilter::Debug => 1,
                LevelFilter::Trace => 2,
                _ => 0,
            },
            log_format: LOG_FORMAT.to_owned(),
        }
    }
}

impl LogChanges {
    /// The level that they come to.
    fn level(&self, now: LevelFilter) -> Result<LevelFilter> {
        if self.log_file.as_ref().is_some_and(|file| !file.is_empty()) {
            return Err(Error::invalid_input(
                "log_file cannot be set: the log goes to standard error; redirect that",
            ));
        }
        if self.log_format.as_ref().is_some_and(|format| format != LOG_FORMAT) {
            return Err(Error::invalid_input(format!(
                "log_format is {LOG_FORMAT:?} alone; choose the form of the log by --log-format at the start"
            )));
        }
        let now = LogSettings::of(now);
        let verbose = self.log_verbose_level.unwrap_or(now.log_verbose_level);
        let told = [
            ("log_error", self.log_error.unwrap_or(now.log_error), LevelFilter::Error),
            ("log_warning", self.log_warning.unwrap_or(now.log_warning), LevelFilter::Warn),
            ("log_info", self.log_info.unwrap_or(now.log_info), LevelFilter::Info),
            ("log_verbose_level", verbose >= 1, LevelFilter::Debug),
            ("log_verbose_level", verbose >= 2, LevelFilter::Trace),
        ];
        for pair in told.windows(2) {
            let ((less, off, _), (more, on, _)) = (pair[0], pair[1]);
            if on && !off {
                return Err(Error::invalid_input(format!(
                    "{less} is off while {more} is on; who hears of more hears of what is graver too, so turn {more} off as well"
                )));
            }
        }
        let level = told.iter().rfind(|(_, on, _)| *on);
        Ok(level.map_or(LevelFilter::Off, |(_, _, level)| *level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_the_flags_come_to() {
        let none = LogChanges::default();
        for level in LevelFilter::iter() {
            assert_eq!(none.level(level).unwrap(), level);
        }
        let quiet = LogChanges { log_info: Some(false), ..LogChanges::default() };
        assert_eq!(quiet.level(LevelFilter::Info).unwrap(), LevelFilter::Warn);
        let verbose = LogChanges { log_verbose_level: Some(7), ..LogChanges::default() };
        assert_eq!(verbose.level(LevelFilter::Info).unwrap(), LevelFilter::Trace);
        let less = LogChanges { log_verbose_level: Some(0), ..LogChanges::default() };
        assert_eq!(less.level(LevelFilter::Trace).unwrap(), LevelFilter::Info);
        let silent = LogChanges {
            log_info: Some(false),
            log_warning: Some(false),
            log_error: Some(false),
            ..LogChanges::default()
        };
        assert_eq!(silent.level(LevelFilter::Info).unwrap(), LevelFilter::Off);
    }

    #[test]
    fn a_level_without_the_graver_ones_is_refused_by_name() {
        let wrong = LogChanges { log_error: Some(false), ..LogChanges::default() };
        let error = wrong.level(LevelFilter::Info).unwrap_err();
        assert!(error.message().contains("log_error is off while log_warning is on"), "{error}");
        let wrong = LogChanges { log_verbose_level: Some(1), ..LogChanges::default() };
        assert!(wrong.level(LevelFilter::Warn).unwrap_err().message().contains("log_info is off"));
    }

    #[test]
    fn a_file_or_another_form_is_refused_by_name() {
        let set = |file: &str, format: &str| LogChanges {
            log_file: Some(file.to_owned()),
            log_format: Some(format.to_owned()),
            ..LogChanges::default()
        };
        assert_eq!(set("", "default").level(LevelFilter::Warn).unwrap(), LevelFilter::Warn);
        for (changes, name) in
            [(set("x.log", "default"), "log_file"), (set("", "ISO8601"), "log_format")]
        {
            let error = changes.level(LevelFilter::Warn).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput);
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn traces_stay_off() {
        let check = |name: &str, values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            check_trace(name, &values)
        };
        check("trace_level", &["OFF"]).unwrap();
        check("trace_rate", &[]).unwrap();
        for (name, value) in
            [("trace_level", "TIMESTAMPS"), ("trace_rate", "1"), ("trace_file", "x")]
        {
            let error = check(name, &[value]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unsupported);
            assert!(error.message().contains(name), "{error}");
        }
        assert_eq!(check("trace", &["x"]).unwrap_err().code(), ErrorCode::InvalidInput);
    }
}
