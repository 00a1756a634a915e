//! Every key that a configuration may have: TorchServe's, used or not, and ours.

mod grpc;
mod ignored;
mod triton;
mod used;
mod values;

use anyhow::Result;

use super::draft::Draft;
pub(crate) use ignored::IGNORED;
use used::USED;

/// A key of `config.properties`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What holds where nobody sets it: a value, or words in brackets; empty for a key that is not used.
    pub(crate) default: &'static str,
    /// What it does, or why it does nothing.
    pub(crate) meaning: &'static str,
    /// Whether an environment variable sets it, once `enable_envvars_config` allows that.
    pub(crate) by_variable: bool,
    pub(crate) action: Action,
}

/// What becomes of a key's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Sets its part of the settings. An error says what is wrong with the value.
    Set(fn(&mut Draft, &str) -> Result<()>),
    /// Does nothing; whoever sets it is told why.
    Ignore,
    /// Ends the start with what to do instead, unless this other key is set.
    RefuseUnless(&'static str),
}

/// Every key that sets a part of the settings.
pub(crate) fn used() -> impl Iterator<Item = &'static Key> {
    USED.iter().chain(grpc::USED).chain(triton::USED)
}

/// All of them, the used ones first.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    used().chain(IGNORED)
}

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The key that somebody who wrote `name` most likely meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let likeness = |key: &Key| strsim::normalized_damerau_levenshtein(key.name, &name);
    let best = all().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.6).then_some(best.name)
}

impl Key {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        match self.name {
            "token_expiration_min" => "TS_TOKEN_EXPIRATION_TIME_MIN".into(),
            name if name.starts_with("ts_") => name.to_ascii_uppercase(),
            name => format!("TS_{}", name.to_ascii_uppercase()),
        }
    }

    /// For a table: the same key, which no environment variable sets.
    const fn in_file_only(self) -> Self {
        Self { by_variable: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Section 5.3 of what TorchServe 0.12 reads, and whether `TS_<KEY>` sets it there.
    const TORCHSERVE: &str = "\
        inference_address E management_address E metrics_address E grpc_inference_address E \
        grpc_management_address E grpc_inference_port E grpc_management_port E \
        grpc_inference_max_connection_age_ms E grpc_inference_max_connection_age_grace_ms E \
        grpc_management_max_connection_age_ms E grpc_management_max_connection_age_grace_ms E \
        enable_grpc_ssl E model_store E workflow_store E load_models E models - model_snapshot - \
        default_workers_per_model E default_response_timeout E default_startup_timeout E \
        unregister_model_timeout E job_queue_size E max_request_size E max_response_size E \
        limit_max_image_pixels E number_of_gpu E number_of_netty_threads E netty_client_threads E \
        default_service_handler E service_envelope E decode_input_request E \
        install_py_dep_per_model E metrics_config E metrics_mode E enable_metrics_api E \
        model_metrics_auto_detect E disable_system_metrics E system_metrics_cmd - \
        metric_time_interval - allowed_urls E use_env_allowed_urls - enable_envvars_config - \
        blacklist_env_vars E cors_allowed_origin E cors_allowed_methods E cors_allowed_headers E \
        keystore E keystore_pass E keystore_type E private_key_file E certificate_file E \
        disable_token_authorization E token_expiration_min E enable_model_api E \
        ts_open_inference_protocol E ts_header_key_sequence_id E ts_header_key_sequence_start E \
        ts_header_key_sequence_end E initial_worker_port E initial_distribution_port E \
        prefer_direct_buffer E async_logging E ipex_enable E ipex_gpu_enable E \
        cpu_launcher_enable E cpu_launcher_args E cpp_log_config E model_server_home E debug E \
        use_native_io - io_ratio - vmargs - plugins_path -";

    #[test]
    fn every_key_of_torchserve_is_known_and_none_twice() {
        let words: Vec<&str> = TORCHSERVE.split_whitespace().collect();
        for pair in words.chunks(2) {
            let key = find(pair[0]).unwrap_or_else(|| panic!("{} is not known", pair[0]));
            assert_eq!(key.by_variable, pair[1] == "E", "{}", key.name);
        }
        let names: BTreeSet<&str> = all().map(|key| key.name).collect();
        assert_eq!(names.len(), all().count(), "a key stands twice");
    }

    #[test]
    fn variables_are_called_as_in_torchserve() {
        for (key, variable) in [
            ("job_queue_size", "TS_JOB_QUEUE_SIZE"),
            ("token_expiration_min", "TS_TOKEN_EXPIRATION_TIME_MIN"),
            ("ts_header_key_sequence_id", "TS_HEADER_KEY_SEQUENCE_ID"),
            ("ts_open_inference_protocol", "TS_OPEN_INFERENCE_PROTOCOL"),
        ] {
            assert_eq!(find(key).unwrap().variable(), variable);
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_key() {
        for (slip, key) in [
            ("job_queue_sise", Some("job_queue_size")),
            ("inference_adress", Some("inference_address")),
            ("MODEL_STORE", Some("model_store")),
            ("load_model", Some("load_models")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(slip), key, "{slip}");
        }
    }

    #[test]
    fn the_defaults_that_are_told_are_those_that_hold() {
        for key in used() {
            let Action::Set(set) = key.action else {
                panic!("{} is used and sets nothing", key.name)
            };
            assert!(!key.default.is_empty() && !key.meaning.is_empty(), "{}", key.name);
            if !key.default.starts_with('(') {
                let mut draft = Draft::default();
                set(&mut draft, key.default).unwrap();
                assert_eq!(format!("{draft:?}"), format!("{:?}", Draft::default()), "{}", key.name);
            }
        }
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        for (key, values) in [
            ("job_queue_size", &["0", "-1", "ten", "1.5", ""][..]),
            ("default_workers_per_model", &["-1", "x"]),
            ("default_response_timeout", &["0", "2m"]),
            ("max_request_size", &["0", "6MB", "99999999999999999999"]),
            ("number_of_gpu", &["-1", "all"]),
            ("enable_metrics_api", &["yes", "1", ""]),
            ("metrics_mode", &["Promethius"]),
            ("service_envelope", &["kservev2", "xml"]),
            ("metric_time_interval", &["0"]),
            ("token_expiration_min", &["0", "-1", "soon", "inf", "NaN", "1e99"]),
            ("allowed_urls", &["https://(", "ok,https://["]),
            ("models", &["{", "[]", "{\"m\": {\"1\": {\"batch\": 1}}}"]),
            ("model_snapshot", &["{", "{}", "{\"models\": {}, \"more\": 1}"]),
            ("inference_address", &["nowhere"]),
            ("log_format", &["xml"]),
            ("grace_period", &["-1", "9999999999"]),
            ("strict", &["on"]),
            ("triton", &["on", "8000"]),
            ("triton_http_address", &["", "8000", "ftp://127.0.0.1"]),
            ("triton_grpc_address", &["nowhere"]),
            ("triton_metrics_address", &["none"]),
            ("model_control_mode", &["poll", "all", ""]),
            ("enable_grpc", &["on", ""]),
            ("enable_grpc_ssl", &["https"]),
            ("grpc_inference_address", &["", "http://127.0.0.1", "127.0.0.1:7070"]),
            ("grpc_management_port", &["-1", "65536", "7071/"]),
            ("grpc_inference_max_connection_age_ms", &["0", "-1", "1s"]),
            ("grpc_management_max_connection_age_grace_ms", &["-1", ""]),
            ("verify_samples", &["on", "true", "Warn", ""]),
        ] {
            let Action::Set(set) = find(key).unwrap().action else { panic!("{key}") };
            for value in values {
                assert!(set(&mut Draft::default(), value).is_err(), "{key} = {value}");
            }
        }
    }

    /// The reference, which this table is the source of.
    const REFERENCE: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md"));

    #[test]
    fn the_reference_has_a_row_for_every_key_that_says_what_the_table_says() {
        let rows: Vec<&str> = REFERENCE.lines().collect();
        for key in all() {
            let name = key.name;
            let row = match key.action {
                Action::Ignore | Action::RefuseUnless(_) => {
                    format!("| `{name}` | {} |", key.meaning)
                }
                Action::Set(_) => {
                    let default = match key.default.strip_prefix('(') {
                        Some(words) => words.trim_end_matches(')').to_owned(),
                        None => format!("`{}`", key.default),
                    };
                    let variable = if key.by_variable { "yes" } else { "no" };
                    format!("| `{name}` | {default} | {variable} | {} |", key.meaning)
                }
            };
            assert!(rows.contains(&row.as_str()), "docs/configuration.md lacks this row:\n{row}");
        }
    }
}
