//! The log: one record a line, whatever its text holds, in the form that the settings ask for.
//!
//! What concerns a request carries its identifier as the key-value `request_id`, which JSON has as a member
//! and the other forms at the line's end. The line of each request has the target `access`, the figures have
//! `metrics`, so that `RUST_LOG` can leave either out.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use env_logger::{Builder, Env, Logger};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Map, json};

use crate::settings::LogFormat;

/// The target of the line of each request.
const ACCESS: &str = "access";

/// The target of panics.
const PANIC: &str = "panic";

/// Where actix tells of requests that do not parse, as errors.
const PARSER: &str = "actix_http::h1::dispatcher";

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,actix_server=warn";

/// What is logged beside that once somebody asks a running server for details: its own, as those of the
/// libraries below it tell little of requests.
const VERBOSE_FILTER: &str =
    "off,mar_server=trace,mar_engine=trace,mar_oip=trace,mar_runtime=trace";

/// Installs the logger, which writes to standard error, and has panics told by it too: a record like any
/// other, with a backtrace where `RUST_BACKTRACE` asks for one. How much it writes may be changed by
/// [`log::set_max_level`] from then on.
pub(crate) fn init(format: LogFormat) {
    let logger = Adjustable { usual: usual(format).build(), verbose: verbose(format).build() };
    let level = logger.usual.filter();
    // The only one: there is one `main`.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        log::error!(target: PANIC, "thread {thread} {panic}{backtrace}");
    }));
}

/// Writes what `RUST_LOG` asks for, and where the level was raised since, the server's own records up to that.
struct Adjustable {
    usual: Logger,
    verbose: Logger,
}

impl Adjustable {
    /// Who writes a record, where the level is `now`.
    fn of(&self, metadata: &Metadata<'_>, now: LevelFilter) -> Option<&Logger> {
        if metadata.level() > now {
            return None;
        }
        if self.usual.enabled(metadata) {
            return Some(&self.usual);
        }
        // What is left out although its level is usual, `RUST_LOG` does not want.
        let raised = metadata.level() > self.usual.filter();
        (raised && self.verbose.enabled(metadata)).then_some(&self.verbose)
    }
}

impl Log for Adjustable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.of(metadata, log::max_level()).is_some()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = self.of(record.metadata(), log::max_level()) {
            logger.log(record);
        }
    }

    fn flush(&self) {
        self.usual.flush();
        self.verbose.flush();
    }
}

/// Writes what `RUST_LOG` asks for.
fn usual(format: LogFormat) -> Builder {
    formatted(Builder::from_env(Env::default().default_filter_or(DEFAULT_FILTER)), format)
}

/// Writes the server's own details, in the same colours.
fn verbose(format: LogFormat) -> Builder {
    let mut builder = usual(format);
    builder.parse_filters(VERBOSE_FILTER);
    builder
}

fn formatted(mut builder: Builder, format: LogFormat) -> Builder {
    builder.format(move |out, record| {
        let told = level(record);
        let style = out.default_level_style(told);
        let level = format!("{style}{told:<5}{style:#}");
        writeln!(out, "{}", line(format, record, Timestamp::now(), &level))
    });
    builder
}

/// An HTTP request and its answer.
pub(crate) struct Access<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) status: u16,
    pub(crate) duration: Duration,
    pub(crate) request_id: &'a str,
    /// The client's address and port.
    pub(crate) peer: &'a str,
    pub(crate) model: Option<&'a str>,
}

impl Access<'_> {
    /// Whether somebody reads such lines: what one says has to be put together.
    pub(crate) fn is_wanted() -> bool {
        log::log_enabled!(target: ACCESS, Level::Info)
    }

    /// Writes the line.
    pub(crate) fn log(&self) {
        let Self { method, path, protocol, status, duration, request_id, peer, model } = *self;
        let duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3;
        let whole = duration.as_millis();
        log::info!(
            target: ACCESS,
            method, path, protocol, status, duration_ms, request_id, peer, model;
            "{peer} \"{method} {path} {protocol}\" {status} {whole} ms {request_id}"
        );
    }
}

impl LogFormat {
    /// A record as one line of a log, without colours and without its end.
    ///
    /// A `main` with a logger of its own writes the server's records by this.
    pub fn line(self, record: &Record<'_>) -> String {
        line(self, record, Timestamp::now(), &format!("{:<5}", level(record)))
    }
}

/// How grave a record is. What a client may cause at will is no error of the server.
fn level(record: &Record<'_>) -> Level {
    match record.target() {
        PARSER => record.level().max(Level::Warn),
        _ => record.level(),
    }
}

/// The record as a line; `level` is its level as people see it.
fn line(format: LogFormat, record: &Record<'_>, at: Timestamp, level: &str) -> String {
    match format {
        LogFormat::Text => {
            format!("[{at:.0} {level} {}] {}", record.target(), text(record))
        }
        LogFormat::Json => json(record, at),
        LogFormat::TorchServe => torchserve(record, at, &TimeZone::system()),
    }
}

/// The message in one line, followed by what the record knows beside it. The message of a request's line
/// has that already.
fn text(record: &Record<'_>) -> String {
    let mut text = one_line(record.args());
    if record.target() != ACCESS {
        for (key, value) in pairs(record) {
            // A string is not quoted.
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.extend([" ", &key, "=", &one_line(value)]);
        }
    }
    text
}

fn json(record: &Record<'_>, at: Timestamp) -> String {
    let mut object = Map::new();
    object.insert("timestamp".into(), json!(format!("{at:.3}")));
    object.insert("level".into(), json!(level(record).as_str()));
    object.insert("target".into(), json!(record.target()));
    object.insert("message".into(), json!(record.args().to_string()));
    for (key, value) in pairs(record) {
        object.entry(key).or_insert(value);
    }
    let mut line = String::new();
    // JSON escapes no more than it must. What is left stands in strings alone.
    for c in serde_json::Value::Object(object).to_string().chars() {
        if is_unsafe(c) {
            line.extend(["\\u", &format!("{:04x}", u32::from(c))]);
        } else {
            line.push(c);
        }
    }
    line
}

/// As TorchServe's access log, metrics log and server log have their lines, with its local time.
fn torchserve(record: &Record<'_>, at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S,%3f").to_string();
    match record.target() {
        ACCESS => format!("{at} - {}", torchserve_access(record)),
        crate::metrics::LOG_TARGET => format!("{at} - {}", text(record)),
        target => {
            let thread = std::thread::current();
            let (level, thread) = (level(record), thread.name().unwrap_or("unnamed").to_owned());
            format!("{at} [{level:<5}] {thread} {target} - {}", text(record))
        }
    }
}

/// `/<ip>:<port> "<method> <uri> <protocol>" <status> <milliseconds>`.
fn torchserve_access(record: &Record<'_>) -> String {
    let pairs = pairs(record);
    let word = |key: &str| pairs.get(key).and_then(serde_json::Value::as_str).unwrap_or("-");
    let status = pairs.get("status").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let millis = pairs.get("duration_ms").and_then(serde_json::Value::as_f64).unwrap_or_default();
    one_line(format_args!(
        "/{} \"{} {} {}\" {status} {:.0}",
        word("peer"),
        word("method"),
        word("path"),
        word("protocol"),
        millis.floor()
    ))
}

/// The record's key-values; those without a value are left out.
fn pairs(record: &Record<'_>) -> Map<String, serde_json::Value> {
    let mut pairs = Pairs(Map::new());
    // The visitor does not fail.
    record.key_values().visit(&mut pairs).ok();
    pairs.0
}

struct Pairs(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut found = Found(None);
        value.visit(&mut found)?;
        if let Some(value) = found.0 {
            self.0.insert(key.to_string(), value);
        }
        Ok(())
    }
}

/// A value with its kind, where it has one.
struct Found(Option<serde_json::Value>);

impl VisitValue<'_> for Found {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = Some(json!(value.to_string()));
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = None;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = Some(json!(value));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = Some(json!(value));
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = Some(json!(value));
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = Some(json!(value));
        Ok(())
    }
}

/// Text in one line, whatever it holds.
pub(crate) fn one_line(text: impl Display) -> String {
    let mut line = String::new();
    for c in text.to_string().chars() {
        if is_unsafe(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Text from clients may hold anything: this begins another line, drives a terminal, or turns the direction
/// of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::tz::{Offset, TimeZone};
    use parking_lot::Mutex;

    use super::*;

    const ACCESS_PAIRS: [(&str, &str); 5] = [
        ("method", "POST"),
        ("path", "/predictions/m"),
        ("protocol", "HTTP/1.1"),
        ("request_id", "some-id"),
        ("peer", "127.0.0.1:4321"),
    ];

    fn at() -> Timestamp {
        "2026-11-25T16:24:05.678Z".parse().unwrap()
    }

    /// A record's line in a form, and its line in TorchServe's form an hour east of Greenwich.
    fn lines(record: &Record<'_>) -> [String; 3] {
        let zone = TimeZone::fixed(Offset::constant(1));
        [
            line(LogFormat::Text, record, at(), "INFO "),
            line(LogFormat::Json, record, at(), "INFO "),
            torchserve(record, at(), &zone),
        ]
    }

    #[test]
    fn a_record_about_a_request_has_its_identifier_in_every_form() {
        let pairs = [("request_id", "some-id")];
        let record = Record::builder()
            .args(format_args!("m: the model failed"))
            .level(Level::Error)
            .target("mar_server")
            .key_values(&pairs)
            .build();
        let [text, json, torchserve] = lines(&record);
        assert_eq!(
            text,
            "[2026-11-25T16:24:05Z INFO  mar_server] m: the model failed request_id=some-id"
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            json,
            json!({
                "timestamp": "2026-11-25T16:24:05.678Z",
                "level": "ERROR",
                "target": "mar_server",
                "message": "m: the model failed",
                "request_id": "some-id",
            })
        );
        assert!(torchserve.starts_with("2026-11-25T17:24:05,678 [ERROR] "), "{torchserve}");
        assert!(
            torchserve.ends_with(" mar_server - m: the model failed request_id=some-id"),
            "{torchserve}"
        );
    }

    #[test]
    fn a_requests_line_is_torchserves_to_the_letter() {
        let words = ACCESS_PAIRS.map(|(key, word)| (key, Value::from(word)));
        let numbers = [("status", Value::from(503_u16)), ("duration_ms", Value::from(12.9))];
        let pairs = [&words[..], &numbers[..]].concat();
        let pairs = pairs.as_slice();
        let record = Record::builder()
            .args(format_args!("as people read it"))
            .target(ACCESS)
            .key_values(&pairs)
            .build();
        let [text, json, torchserve] = lines(&record);
        assert_eq!(text, "[2026-11-25T16:24:05Z INFO  access] as people read it");
        assert_eq!(
            torchserve,
            "2026-11-25T17:24:05,678 - /127.0.0.1:4321 \"POST /predictions/m HTTP/1.1\" 503 12"
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["status"], &json["duration_ms"]), (&json!(503), &json!(12.9)));
        assert_eq!((&json["path"], json.get("model")), (&json!("/predictions/m"), None));
    }

    #[test]
    fn what_a_client_causes_at_will_is_no_error() {
        let record = Record::builder()
            .args(format_args!("stream error: request parse error: invalid Header provided"))
            .level(Level::Error)
            .target(PARSER)
            .build();
        let [_, json, torchserve] = lines(&record);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "WARN");
        assert!(torchserve.contains(" [WARN ] "), "{torchserve}");
    }

    #[test]
    fn figures_have_the_form_of_torchserves_metrics_log() {
        let record =
            Record::builder().args(format_args!("A.Count:1.0|#")).target("metrics").build();
        assert_eq!(lines(&record)[2], "2026-11-25T17:24:05,678 - A.Count:1.0|#");
    }

    #[test]
    fn no_text_begins_another_line_or_drives_a_terminal() {
        let evil =
            "m\r\n[2026-11-25T16:24:05Z INFO  access] forged\u{1b}[31m\u{85}\u{2028}\u{202e}x\0";
        let pairs = [("request_id", evil), ("path", evil), ("method", evil), ("peer", evil)];
        let args = format_args!("{evil}");
        for target in ["mar_server", ACCESS, "metrics"] {
            let record = Record::builder().args(args).target(target).key_values(&pairs).build();
            for line in lines(&record) {
                assert!(!line.contains(is_unsafe), "{line:?}");
            }
            let [text, json, torchserve] = lines(&record);
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["message"], &json["path"]), (&json!(evil), &json!(evil)));
            for line in [text, torchserve] {
                assert!(line.contains("m\\r\\n["), "{line}");
                assert!(line.contains("forged\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}x"), "{line}");
            }
        }
    }

    /// What a logger wrote.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_installed_logger_writes_whole_lines_in_its_form() {
        for (format, start) in [(LogFormat::Text, "["), (LogFormat::Json, "{\"timestamp\":\"")] {
            let written = Written::default();
            let target = env_logger::Target::Pipe(Box::new(written.clone()));
            let logger = usual(format).target(target).build();
            for _ in 0..2 {
                let record =
                    Record::builder().args(format_args!("a\nb")).level(Level::Error).build();
                logger.log(&record);
            }
            let written = String::from_utf8(written.0.lock().clone()).unwrap();
            let lines: Vec<&str> = written.lines().collect();
            assert_eq!(lines.len(), 2, "{written:?}");
            assert!(lines.iter().all(|line| line.starts_with(start)), "{written:?}");
            assert!(lines.iter().all(|line| line.contains("a\\nb")), "{written:?}");
        }
    }
    #[test]
    fn a_raised_level_shows_the_servers_own_details_alone() {
        let built = |filter: &str| Builder::new().parse_filters(filter).build();
        let logger = Adjustable { usual: built(DEFAULT_FILTER), verbose: built(VERBOSE_FILTER) };
        let writes = |level, target: &str, now| {
            let metadata = Metadata::builder().level(level).target(target).build();
            logger.of(&metadata, now).is_some()
        };
        for (level, target, now, expected) in [
            (Level::Info, "mar_server", LevelFilter::Info, true),
            (Level::Debug, "mar_server::rest", LevelFilter::Info, false),
            (Level::Debug, "mar_server::rest", LevelFilter::Debug, true),
            (Level::Trace, "mar_engine", LevelFilter::Debug, false),
            (Level::Trace, "mar_engine", LevelFilter::Trace, true),
            (Level::Debug, "h2::codec", LevelFilter::Trace, false),
            (Level::Info, "actix_server", LevelFilter::Trace, false),
            (Level::Info, "access", LevelFilter::Warn, false),
            (Level::Error, "mar_server", LevelFilter::Off, false),
        ] {
            assert_eq!(writes(level, target, now), expected, "{level} {target} {now}");
        }
    }
}
