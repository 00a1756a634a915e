//! From what was typed, written and set to the settings, and to a table of it.

use anyhow::{Result, anyhow};
use comfy_table::{ContentArrangement, Table, presets};

use super::Settings;
use super::draft::Draft;
use super::keys::{self, Action};
use super::layers::{self, CommandLine, Given, Layers, Surroundings};
use crate::logging::one_line;

/// The environment variable of the key that is always good.
const API_KEY: &str = "MARSERVE_API_KEY";

/// The longest value that a message repeats, in characters.
const SHOWN: usize = 60;

/// Settings, and what the person who starts the server should know of them.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    /// What was asked for and is not done, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// Key, value, and where it was found, of every key that is used.
    pub(crate) rows: Vec<[String; 3]>,
}

/// Reads and checks all of it. Nothing is bound, loaded or written.
///
/// # Errors
/// Where the configuration file or a value is wrong; the message names key, value and place.
pub(crate) fn read(asked: &CommandLine, around: &Surroundings) -> Result<Configuration> {
    let file = layers::config_file(asked, around)?;
    let mut layers = layers::merge(file.as_deref(), asked, around)?;
    let mut draft = Draft::default();
    for key in keys::used() {
        if let (Action::Set(set), Some(given)) = (key.action, layers.given.get(key.name)) {
            set(&mut draft, &given.value).map_err(|error| wrong(key.name, given, &error))?;
        }
    }
    if let (Some(snapshot), Some(words)) =
        (layers.given.get("model_snapshot"), layers.given.get("load_models"))
    {
        layers.warnings.push(format!(
            "the models are those of model_snapshot ({}), load_models ({}) is not used; without \
             --ts-config, --ncs starts without the last run's",
            snapshot.source, words.source
        ));
    }
    let api_key = around.variable(API_KEY);
    let remembers = !asked.no_snapshots && !draft.triton.enabled;
    let model_cache = draft.model_cache.folder(around);
    let mut settings = draft.finish(api_key)?;
    settings.snapshots = remembers.then(|| around.snapshots());
    settings.engine.model_cache = model_cache;
    settings.effective = effective(&layers);
    let rows = rows(&layers, &settings, api_key.is_some());
    Ok(Configuration { settings, warnings: layers.warnings, rows })
}

fn wrong(key: &str, given: &Given, error: &anyhow::Error) -> anyhow::Error {
    let mut value: String = given.value.chars().take(SHOWN).collect();
    if value.len() < given.value.len() {
        value.push_str("...");
    }
    // In one line, whatever the value holds.
    anyhow!("{key} = {} ({}): {error:#}", one_line(&value), given.source)
}

/// What a snapshot repeats: all that was set, but no secret, and not which models to load, which the
/// snapshot says itself.
fn effective(layers: &Layers) -> Vec<(String, String)> {
    let not = ["load_models", "model_snapshot", "keystore_pass"];
    let given = layers.given.iter().filter(|(key, _)| !not.contains(key));
    given.map(|(key, given)| ((*key).to_owned(), given.value.clone())).collect()
}

fn rows(layers: &Layers, settings: &Settings, from_variable: bool) -> Vec<[String; 3]> {
    let mut rows: Vec<[String; 3]> = keys::used()
        .map(|key| {
            let (value, source) = match layers.given.get(key.name) {
                Some(given) => (given.value.clone(), given.source.to_string()),
                None => (key.default.to_owned(), "default".into()),
            };
            [key.name.to_owned(), value, source]
        })
        .collect();
    if settings.access.api_key.is_some() {
        let source = if from_variable { API_KEY } else { "api_key_file" };
        rows.push(["api key".into(), "(set)".into(), source.into()]);
    }
    rows
}

impl Configuration {
    /// The table of `--check-config`, and the warnings below it.
    pub(crate) fn report(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["key", "effective value", "source"])
            .add_rows(&self.rows);
        let mut report = table.to_string();
        for warning in &self.warnings {
            report.push_str("\nwarning: ");
            report.push_str(warning);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::settings::snapshot::{self, Kind};
    use crate::settings::{ApiKey, Endpoint, Listed, LogFormat, MetricsMode, ModelSource};

    /// A folder with an empty model store `store` and these lines as `config.properties`.
    fn place(lines: &str) -> (TempDir, Surroundings) {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let lines = format!("model_store={}\n{lines}", store.display());
        std::fs::write(folder.path().join("config.properties"), lines).unwrap();
        let around = Surroundings { folder: folder.path().to_owned(), ..Surroundings::default() };
        (folder, around)
    }

    fn settings(lines: &str) -> Result<Settings> {
        let (_folder, around) = place(lines);
        read(&CommandLine::default(), &around).map(|configuration| configuration.settings)
    }

    fn failure(lines: &str) -> String {
        format!("{:#}", settings(lines).unwrap_err())
    }

    fn shown(endpoint: &Endpoint) -> String {
        endpoint.to_string()
    }

    #[test]
    fn the_keys_of_grpc_reach_its_addresses() {
        let s = settings(
            "grpc_inference_address=::1\ngrpc_inference_port=1\ngrpc_management_address=localhost\n\
             grpc_management_port=2\ngrpc_inference_max_connection_age_ms=3000\n\
             grpc_inference_max_connection_age_grace_ms=0\n\
             grpc_management_max_connection_age_ms=9223372036854775807\n",
        )
        .unwrap();
        let [inference, management] = &s.grpc[..] else { panic!("{:?}", s.grpc) };
        assert_eq!(shown(&inference.endpoint), "http://[::1]:1");
        assert!(shown(&management.endpoint).ends_with(":2"));
        assert_eq!(inference.max_connection_age, Some(Duration::from_secs(3)));
        assert_eq!(inference.max_connection_age_grace, Some(Duration::ZERO));
        assert_eq!(management.max_connection_age, None, "longer than any process lives");
        assert_eq!(settings("enable_grpc=false").unwrap().grpc, []);
        assert!(failure("grpc_inference_address=0.0.0.0").contains("grpc_inference_port"));
        assert!(failure("enable_grpc_ssl=true").contains("https needs private_key_file"));
    }

    #[test]
    fn every_used_key_reaches_the_settings() {
        let s = settings(
            "inference_address=http://127.0.0.1:1\nmanagement_address=unix:/m.sock\n\
             metrics_address=http://127.0.0.1\ndefault_workers_per_model=3\n\
             default_response_timeout=4\ndefault_startup_timeout=5\nunregister_model_timeout=6\n\
             job_queue_size=7\nmax_request_size=8\nmax_response_size=9\nnumber_of_gpu=2\n\
             default_service_handler=echo\nservice_envelope=kserve\nmetrics_mode=legacy\n\
             enable_metrics_api=false\ndisable_system_metrics=true\nmetric_time_interval=10\n\
             allowed_urls=https://a/.*, file://.*\ncors_allowed_origin=*\ncors_allowed_methods=GET\n\
             cors_allowed_headers=X-A\ndisable_token_authorization=false\ntoken_expiration_min=0.5\n\
             enable_model_api=true\ngrace_period=11\nmodel_cache=/c\nlog_format=json\nstrict=true\n\
             models={\"m\": {\"1.0\": {\"batchSize\": 12}}}\n",
        )
        .unwrap();
        assert_eq!(shown(&s.inference), "http://127.0.0.1:1");
        assert_eq!(shown(&s.management), "unix:/m.sock");
        assert_eq!(shown(&s.metrics), "http://127.0.0.1:8082");
        let defaults = &s.engine.defaults;
        assert_eq!((defaults.workers, defaults.job_queue_size), (Some(3), 7));
        let seconds =
            [defaults.response_timeout, defaults.startup_timeout, s.engine.unload_timeout];
        assert_eq!(seconds.map(|time| time.as_secs()), [4, 5, 6]);
        assert_eq!((s.max_request_size, s.max_response_size), (8, 9));
        assert_eq!(s.engine.max_cuda_devices, Some(2));
        assert_eq!(s.engine.default_handler.as_deref(), Some("echo"));
        assert_eq!(s.envelope, crate::settings::Envelope::Instances);
        assert_eq!(s.measuring.mode, MetricsMode::Legacy);
        assert!(!s.measuring.endpoint && !s.measuring.system);
        assert_eq!(s.measuring.interval, Duration::from_secs(10));
        assert_eq!(s.store.allowed_urls, ["https://a/.*", "file://.*"]);
        let cors = [s.cors.origin, s.cors.methods, s.cors.headers].map(Option::unwrap);
        assert_eq!(cors, ["*", "GET", "X-A"]);
        assert_eq!(s.access.tokens, Some(Duration::from_secs(30)));
        assert!(s.access.model_api && s.strict);
        assert_eq!(s.grace_period, Duration::from_secs(11));
        assert_eq!(s.engine.model_cache.as_deref(), Some(Path::new("/c")));
        assert_eq!(s.log_format, LogFormat::Json);
        assert_eq!(s.store.listed["m"]["1.0"].overrides.batch_size, Some(12));
        assert!(s.snapshots.unwrap().ends_with("logs/config"));
    }

    #[test]
    fn a_value_that_is_wrong_is_named_with_its_key_and_place() {
        let error = failure("job_queue_size=many\n");
        for words in ["job_queue_size = many", "config.properties:2", "not a whole number"] {
            assert!(error.contains(words), "{error}");
        }
        let long = failure(&format!("models=[{}]\n", "1,".repeat(500)));
        assert!(long.chars().count() < 300, "{long}");
        let error = failure("models={\"m\": {\"1.0\": {\"workers\": 1}}}\n");
        assert!(error.contains("model m, version 1.0: unknown field `workers`"), "{error}");
        assert!(failure("inference_address=https://127.0.0.1\n").contains("certificate_file"));
        assert!(failure("model_store=/absent\n").contains("/absent is not a folder"));
        let nowhere = tempfile::tempdir().unwrap();
        let around = Surroundings { folder: nowhere.path().to_owned(), ..Surroundings::default() };
        let error = read(&CommandLine::default(), &around).unwrap_err().to_string();
        assert!(error.contains("--model-store") && error.contains("model_store"), "{error}");
    }

    #[test]
    fn tokens_are_asked_for_only_where_the_file_turns_them_on() {
        assert_eq!(settings("").unwrap().access.tokens, None);
        assert_eq!(settings("disable_token_authorization=true").unwrap().access.tokens, None);
        let on = settings("disable_token_authorization=false").unwrap().access.tokens;
        assert_eq!(on, Some(Duration::from_hours(1)));
    }

    #[test]
    fn what_others_reach_is_open_only_where_that_is_meant_and_metrics_always() {
        for key in ["inference_address", "management_address"] {
            let open = format!("{key}=http://0.0.0.0:1\n");
            assert!(failure(&open).contains(&format!("{key} http://0.0.0.0:1")));
            for switch in ["true", "false"] {
                let meant = format!("{open}disable_token_authorization={switch}\n");
                assert!(settings(&meant).is_ok(), "{meant}");
            }
        }
        assert!(settings("metrics_address=http://0.0.0.0:1\n").is_ok());
    }

    #[test]
    fn memory_is_shared_where_every_client_is_on_this_machine_or_that_is_said() {
        let shares = |text: &str| settings(text).unwrap().shared_memory;
        assert!(shares(""));
        assert!(!shares("allow_shared_memory=false\n"));
        for key in ["inference_address", "triton_http_address", "grpc_inference_address"] {
            let host = if key.starts_with("grpc") { "0.0.0.0" } else { "http://0.0.0.0:1" };
            let open = format!("{key}={host}\ndisable_token_authorization=true\n");
            assert!(!shares(&open), "{open}");
            assert!(shares(&format!("{open}allow_shared_memory=true\n")), "{open}");
        }
        assert!(shares("metrics_address=http://0.0.0.0:1\n"));
    }

    #[test]
    fn the_key_comes_from_the_variable_before_the_file_and_is_never_shown() {
        let (folder, mut around) = place("api_key_file=$$KEYS$$/key\n");
        around.variables.insert("KEYS".into(), folder.path().display().to_string());
        let key = |around: &Surroundings| read(&CommandLine::default(), around);
        let error = format!("{:#}", key(&around).unwrap_err());
        assert!(error.contains("api_key_file") && error.contains("cannot read"), "{error}");
        std::fs::write(folder.path().join("key"), "two words\n").unwrap();
        let error = format!("{:#}", key(&around).unwrap_err());
        assert!(error.contains("visible ASCII") && !error.contains("two words"), "{error}");
        std::fs::write(folder.path().join("key"), "secret-1\n").unwrap();
        let configuration = key(&around).unwrap();
        assert_eq!(configuration.settings.access.api_key, Some(ApiKey("secret-1".into())));
        around.variables.insert("MARSERVE_API_KEY".into(), "secret-2".into());
        let configuration = key(&around).unwrap();
        assert_eq!(configuration.settings.access.api_key, Some(ApiKey("secret-2".into())));
        let report = configuration.report();
        assert!(report.contains("(set)") && report.contains("MARSERVE_API_KEY"), "{report}");
        let told = format!("{report}{:?}", configuration.settings);
        assert!(!told.contains("secret-"), "{told}");
    }

    #[test]
    fn tritons_addresses_are_there_where_somebody_asks_for_them() {
        let of = |lines: &str| {
            let s = settings(lines).unwrap();
            let grpc = s.grpc.iter().find(|site| site.key == "triton_grpc_address");
            let places = [
                s.triton.http.as_ref(),
                grpc.map(|site| &site.endpoint),
                s.triton.metrics.as_ref(),
            ];
            let shown: Vec<_> =
                places.into_iter().map(|place| place.map_or("-".into(), shown)).collect();
            (shown.join(" "), s.triton.told, s.strict, s.triton.max_request_size)
        };
        let large = 64 << 20;
        assert_eq!(of(""), ("- - -".into(), false, false, large));
        let usual = "http://127.0.0.1:8000 http://127.0.0.1:8001 http://127.0.0.1:8002";
        assert_eq!(of("triton=true\n"), (usual.into(), true, true, large));
        assert_eq!(
            of("triton=true\nstrict=false\nmax_request_size=9\n"),
            (usual.into(), true, false, 9)
        );
        let own = "triton_http_address=127.0.0.1:1\ntriton_grpc_address=http://127.0.0.1\n";
        let places = "http://127.0.0.1:1 http://127.0.0.1:8001 -";
        assert_eq!(of(own), (places.into(), true, false, large));
        let answers = |lines: &str| settings(lines).unwrap().triton.max_response_size;
        assert_eq!(answers("triton=true\nmax_request_size=9\n"), 0x7fff_ffff, "Triton's");
        assert_eq!(answers("triton=true\nmax_response_size=7\n"), 7);
        let off = "triton=true\ntriton_metrics_address=off\ntriton_grpc_address=OFF\n";
        assert_eq!(of(off).0, "http://127.0.0.1:8000 - -");
        for key in ["triton_http_address", "triton_grpc_address"] {
            let error = failure(&format!("{key}=http://0.0.0.0:1\n"));
            assert!(error.contains(&format!("{key} http://0.0.0.0:1 can be reached")), "{error}");
        }
    }

    #[test]
    fn with_triton_every_model_is_loaded_unless_some_are_named_or_clients_choose() {
        let loaded = |lines: &str| {
            let (folder, around) = place(lines);
            std::fs::create_dir_all(folder.path().join("store/m/1")).unwrap();
            let settings = read(&CommandLine::default(), &around).unwrap().settings;
            let explicit = settings.explicit_control();
            // The next start serves what the repository holds then, not what this one served.
            assert_eq!(settings.snapshots.is_none(), lines.contains("triton=true"));
            (settings.models.len(), explicit)
        };
        assert_eq!(loaded(""), (0, false));
        assert_eq!(loaded("triton=true\n"), (1, false));
        assert_eq!(loaded("triton=true\nmodel_control_mode=explicit\n"), (0, true));
        assert_eq!(loaded("model_control_mode=explicit\nload_models=m\n"), (1, true));
        assert_eq!(loaded("triton=true\nload_models=standalone\n"), (0, false));
        assert_eq!(loaded("enable_model_api=true\n"), (0, true));
        let error = failure("model_control_mode=poll\n");
        assert!(error.contains("the model store is not polled"), "{error}");
    }

    #[test]
    fn a_snapshots_models_are_loaded_and_the_words_of_the_command_line_are_not() {
        let (folder, around) = place("job_queue_size=1\n");
        let store = folder.path().join("store");
        let logs = folder.path().join("logs/config");
        std::fs::create_dir_all(&logs).unwrap();
        let snapshot = format!(
            "model_store={}\njob_queue_size=5\nmodel_snapshot={{\"name\":\"s\",\"modelCount\":1,\
             \"created\":1,\"models\":{{\"m\":{{\"1.0\":{{\"defaultVersion\":true,\
             \"marName\":\"m.mar\",\"minWorkers\":2}}}}}}}}\n",
            store.display()
        );
        std::fs::write(logs.join("20240101000000000-shutdown.cfg"), snapshot).unwrap();
        let words = crate::settings::Flag {
            name: "--models",
            key: "load_models",
            value: "other.mar".into(),
        };
        let asked = CommandLine { flags: vec![words], ..CommandLine::default() };
        let error = format!("{:#}", read(&asked, &around).unwrap_err());
        assert!(error.contains("m.mar is not in the model store"), "{error}");

        std::fs::write(store.join("m.mar"), "").unwrap();
        let Configuration { settings, warnings, .. } = read(&asked, &around).unwrap();
        let restored = Some(settings.store.listed["m"]["1.0"].clone());
        let expected = ModelSource {
            name: Some("m".into()),
            path: store.join("m.mar"),
            restored,
            ..ModelSource::default()
        };
        assert_eq!(settings.models, [expected]);
        assert_eq!(settings.store.listed["m"]["1.0"].overrides.min_workers, Some(2));
        assert_eq!(settings.engine.defaults.job_queue_size, 5);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.contains("--models") && warning.contains("--ncs"), "{warning}");

        // Without snapshots it is the file in the folder and the words again, and none is written.
        std::fs::write(store.join("other.mar"), "").unwrap();
        let asked = CommandLine { no_snapshots: true, ..asked };
        let Configuration { settings, warnings, .. } = read(&asked, &around).unwrap();
        assert_eq!(
            settings.models,
            [ModelSource { path: store.join("other.mar"), ..ModelSource::default() }]
        );
        assert_eq!((settings.engine.defaults.job_queue_size, settings.snapshots), (1, None));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn a_snapshot_repeats_what_was_set_and_no_secret() {
        let lines = "job_queue_size=7\nkeystore_pass=changeit\nvmargs=-Xmx1g\nload_models=all\n";
        let (folder, around) = place(lines);
        let first = read(&CommandLine::default(), &around).unwrap().settings;
        let store = folder.path().join("store").display().to_string();
        let expected = [("job_queue_size", "7"), ("model_store", &store), ("vmargs", "-Xmx1g")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(first.effective, expected);

        // And the next start goes on from it.
        std::fs::write(folder.path().join("store/m.mar"), "").unwrap();
        let listed = Listed { mar_name: Some("m.mar".into()), ..Listed::default() };
        let models = [("m".to_owned(), [("1.0".to_owned(), listed)].into())].into();
        let logs = first.snapshots.unwrap();
        snapshot::write(&logs, Kind::Shutdown, &first.effective, &models).unwrap();
        let next = read(&CommandLine::default(), &around).unwrap().settings;
        assert_eq!(next.effective, expected);
        assert_eq!((next.engine.defaults.job_queue_size, next.store.listed), (7, models));
        assert_eq!(next.models[0].path, folder.path().join("store/m.mar"));
    }

    #[test]
    fn the_report_says_where_each_value_was_found() {
        let (_folder, around) = place("job_queue_size=7\nnumber_of_netty_threads=4\n");
        let configuration = read(&CommandLine::default(), &around).unwrap();
        let row = |key: &str| configuration.rows.iter().find(|row| row[0] == key).unwrap();
        assert_eq!(row("job_queue_size")[1], "7");
        assert!(row("job_queue_size")[2].ends_with("config.properties:2"));
        assert_eq!(row("grace_period"), &["grace_period", "30", "default"]);
        let report = configuration.report();
        assert!(report.contains("warning: not used: number_of_netty_threads"), "{report}");
    }
}
