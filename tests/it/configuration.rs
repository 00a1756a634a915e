use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a model store and, beside it, whatever a test configures.
struct Place(TempDir);

/// What `--check-config` came to.
struct Checked {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Self(folder)
    }

    /// With a `config.properties` of these lines, and the model store.
    fn with(lines: &str) -> Self {
        let place = Self::new();
        let store = place.path("store");
        place.write("config.properties", &format!("{lines}\nmodel_store={}\n", store.display()));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("TMPDIR", self.0.path())
            .env("XDG_CACHE_HOME", self.0.path())
            .env_remove("LOG_LOCATION")
            .stdin(Stdio::null());
        command
    }

    fn check(&self, arguments: &[&str]) -> Checked {
        Checked::of(&self.command(arguments).arg("--check-config").output().unwrap())
    }
}

impl Checked {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let status = output.status.code();
        Self { status, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The value and the source that the table tells of a key.
    fn row(&self, key: &str) -> (String, String) {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.err);
        let mut rows = self.out.lines().map(|line| {
            let cells: Vec<&str> = line.split(['│', '┆']).map(str::trim).collect();
            cells
        });
        let row = rows.find(|cells| cells.get(1) == Some(&key));
        let row = row.unwrap_or_else(|| panic!("no row {key} in {}", self.out));
        (row[2].to_owned(), row[3].to_owned())
    }

    /// Checks that the start is refused with a message that has all these words.
    fn refused(&self, words: &[&str]) {
        assert_eq!(self.status, Some(1), "{}{}", self.out, self.err);
        for words in words {
            assert!(self.err.contains(words), "no {words} in {}", self.err);
        }
    }
}

/// The values that TorchServe's Docker image comes with.
const DOCKER: &str = "inference_address=http://0.0.0.0:8080\nmanagement_address=http://0.0.0.0:8081\n\
    metrics_address=http://0.0.0.0:8082\nnumber_of_netty_threads=32\njob_queue_size=1000";

#[test]
fn the_configuration_of_torchserves_docker_image_works_as_it_is() {
    let place = Place::with(DOCKER);
    let file = place.path("config.properties").display().to_string();
    // The image's own start command, with one word changed.
    let checked = place.check(&["--start", "--ts-config", &file, "--disable-token-auth"]);
    assert_eq!(checked.row("inference_address").0, "http://0.0.0.0:8080");
    assert_eq!(checked.row("metrics_address").0, "http://0.0.0.0:8082");
    assert_eq!(checked.row("job_queue_size"), ("1000".into(), format!("{file}:5")));
    let token = checked.row("disable_token_authorization");
    assert_eq!(token, ("true".into(), "--disable-token-auth".into()));
    assert_eq!(checked.row("max_request_size"), ("6553500".into(), "default".into()));
    let warnings: Vec<&str> = checked.out.lines().filter(|l| l.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("number_of_netty_threads"), "{warnings:?}");
}

#[test]
fn the_same_without_a_word_on_tokens_is_refused() {
    let place = Place::with(DOCKER);
    place.check(&[]).refused(&["inference_address http://0.0.0.0:8080", "--disable-token-auth"]);
    place.write("tokens.properties", &format!("{DOCKER}\ndisable_token_authorization=false\n"));
    let store = place.path("store").display().to_string();
    let checked = place.check(&["--ts-config", "tokens.properties", "--model-store", &store]);
    assert_eq!(checked.row("disable_token_authorization").0, "false");
}

#[test]
fn kserves_configuration_loads_the_models_of_its_snapshot() {
    let place = Place::with(
        "inference_address=http://127.0.0.1:8085\nmanagement_address=http://127.0.0.1:8085\n\
         metrics_address=http://127.0.0.1:8082\ngrpc_inference_port=7070\ngrpc_management_port=7071\n\
         enable_envvars_config=true\ninstall_py_dep_per_model=true\nenable_metrics_api=true\n\
         metrics_mode=prometheus\nNUM_WORKERS=1\nnumber_of_netty_threads=4\njob_queue_size=10\n\
         load_models=all\nmodel_snapshot={\"name\":\"startup.cfg\",\"modelCount\":1,\"models\":{\
         \"mnist\":{\"1.0\":{\"defaultVersion\":true,\"marName\":\"mnist.mar\",\"minWorkers\":1,\
         \"maxWorkers\":5,\"batchSize\":5,\"maxBatchDelay\":200,\"responseTimeout\":60}}}}",
    );
    place.check(&[]).refused(&["model mnist, version 1.0", "mnist.mar is not in the model store"]);
    fs::write(place.path("store/mnist.mar"), "").unwrap();
    let checked = place.check(&[]);
    assert_eq!(checked.row("management_address").0, "http://127.0.0.1:8085");
    for words in ["install_py_dep_per_model", "NUM_WORKERS", "load_models (config.properties:13)"] {
        assert_eq!(checked.out.matches(&format!(" {words}")).count(), 1, "{}", checked.out);
    }
}

#[test]
fn the_environment_holds_before_the_command_line_before_the_file() {
    let place = Place::with("enable_envvars_config=true\njob_queue_size=10\nmax_request_size=11");
    let arguments = ["--check-config", "--job-queue-size", "20"];
    let mut command = place.command(&arguments);
    let checked = Checked::of(&command.output().unwrap());
    assert_eq!(checked.row("job_queue_size"), ("20".into(), "--job-queue-size".into()));
    let max = checked.row("max_request_size");
    assert_eq!(max, ("11".into(), "config.properties:3".into()));
    let checked = Checked::of(&command.env("TS_JOB_QUEUE_SIZE", "30").output().unwrap());
    assert_eq!(checked.row("job_queue_size"), ("30".into(), "TS_JOB_QUEUE_SIZE".into()));
}

#[test]
fn ts_config_file_names_the_file_whatever_the_flag_says() {
    let place = Place::with("job_queue_size=1");
    let store = format!("model_store={}", place.path("store").display());
    place.write("flag.properties", &format!("{store}\njob_queue_size=2"));
    place.write("variable.properties", &format!("{store}\njob_queue_size=3"));
    let arguments = ["--check-config", "--ts-config", "flag.properties"];
    let mut command = place.command(&arguments);
    let queue = |output: &Output| Checked::of(output).row("job_queue_size").0;
    assert_eq!(queue(&place.command(&["--check-config"]).output().unwrap()), "1");
    assert_eq!(queue(&command.output().unwrap()), "2");
    command.env("TS_CONFIG_FILE", "variable.properties");
    assert_eq!(queue(&command.output().unwrap()), "3");
    command.env("TS_CONFIG_FILE", "absent.properties");
    Checked::of(&command.output().unwrap()).refused(&["TS_CONFIG_FILE", "absent.properties"]);
    place.check(&["--ts-config", "gone"]).refused(&["--ts-config", "gone"]);
}

#[test]
fn what_is_wrong_is_named_with_key_value_and_place() {
    for (lines, words) in [
        ("job_queue_sise=1", &["config.properties:1", "job_queue_sise", "job_queue_size?"][..]),
        ("job_queue_size=ten", &["job_queue_size = ten", "config.properties:1", "whole number"]),
        ("metrics_mode=off", &["metrics_mode = off", "prometheus, log or legacy"]),
        ("service_envelope=kservev2", &["kservev2 is not supported yet"]),
        ("inference_address=nowhere", &["inference_address = nowhere", "http://host:port"]),
        ("inference_address=https://127.0.0.1:8443", &["https needs private_key_file", "openssl"]),
        ("allowed_urls=https://(", &["allowed_urls", "no regular expression"]),
        ("keystore=keystore.p12", &["keystore", "openssl pkcs12"]),
        ("models={\"m\": {\"1.0\": {\"batch\": 1}}}", &["model m, version 1.0", "`batch`"]),
        ("load_models=http://example.org/m.mar", &["http://example.org/m.mar", "allowed_urls"]),
        (
            "default_service_handler=$$NOT_SET_ANYWHERE$$",
            &["$NOT_SET_ANYWHERE", "default_service_handler"],
        ),
    ] {
        Place::with(lines).check(&[]).refused(words);
    }
    Place::new().check(&[]).refused(&["--model-store"]);
}

#[test]
fn a_real_start_says_the_same_and_checks_before_it_does_anything() {
    let place = Place::with("job_queue_size=0");
    for arguments in [&["--start"][..], &["--foreground"]] {
        let output = place.command(arguments).output().unwrap();
        Checked::of(&output).refused(&["job_queue_size = 0", "config.properties:1"]);
    }
    assert!(!place.path("logs").exists(), "nothing is written");
}

/// Starts a server until it says so, and ends it; what it said is in `out`, its log in `err`.
fn started(mut command: Command) -> Checked {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut out = String::new();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    while !out.ends_with("Model server started.\n") && said.read_line(&mut out).unwrap() > 0 {}
    kill_process(Pid::from_child(&server), Signal::TERM).ok();
    let checked = Checked::of(&server.wait_with_output().unwrap());
    assert!(out.ends_with("started.\n") && checked.status == Some(0), "{}", checked.err);
    Checked { out, ..checked }
}

/// The address of everything, on any free port.
const FREE: &str = "inference_address=http://127.0.0.1:0\n\
    management_address=http://127.0.0.1:0\nmetrics_address=http://127.0.0.1:0\n\
    grpc_inference_port=0\ngrpc_management_port=0";

#[test]
fn a_server_that_starts_tells_once_what_is_not_used() {
    let place = Place::with(&format!("{FREE}\nvmargs=-Xmx1g"));
    let Checked { err, .. } = started(place.command(&["--foreground", "--ncs"]));
    let warning = "not used: vmargs (config.properties:6): there is no JVM";
    assert_eq!(err.matches(warning).count(), 1, "{err}");
}

#[test]
fn every_line_of_a_log_in_json_is_json_even_of_a_start_that_fails() {
    let place = Place::with(&format!("{FREE}\nvmargs=-Xmx1g\nlog_format=json"));
    let told = |err: &str, level: &str, words: &str| {
        let mut lines = err.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            (line["level"].clone(), line["message"].as_str().unwrap().to_owned())
        });
        assert!(lines.any(|(at, message)| at == level && message.contains(words)), "{err}");
    };
    let Checked { err, .. } = started(place.command(&["--foreground", "--ncs"]));
    told(&err, "WARN", "not used: vmargs");
    told(&err, "INFO", "stopped");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = place.command(&["--foreground", "--ncs", "--inference-address", &address]);
    let Checked { status, err, .. } = Checked::of(&command.output().unwrap());
    assert_eq!(status, Some(1), "{err}");
    told(&err, "ERROR", &format!("cannot listen on http://{address}"));
}

#[test]
fn a_model_that_did_not_load_is_tried_again_by_the_next_start() {
    let place = Place::with(FREE);
    // Read where neither variable nor flag names a file, and no snapshot is there.
    place.write("store/m.mar", "no archive");
    let first = started(place.command(&["--foreground", "--models", "m.mar,gone.mar"]));
    assert_eq!(first.out.matches("FAILED").count(), 2, "{}", first.out);
    let next = started(place.command(&["--foreground"]));
    assert!(next.out.contains("│ m ") && next.out.contains("FAILED"), "{}", next.out);
    assert!(!next.out.contains("gone"), "{}", next.out);
}

#[test]
fn torchserves_other_flags_are_taken_and_said_to_do_nothing() {
    let place = Place::with("");
    let checked = place.check(&[
        "--no-config-snapshots",
        "--dt",
        "--log-config",
        "log4j2.xml",
        "--workflow-store",
        "wf",
        "--ppath",
        "plugins",
        "--cpp-log-config",
        "cpp.yaml",
        "--enable-model-api",
    ]);
    assert_eq!(checked.row("enable_model_api"), ("true".into(), "--enable-model-api".into()));
    for flag in ["--log-config", "--workflow-store", "--plugins-path", "--cpp-log-config"] {
        let told = checked.out.lines().filter(|l| l.starts_with("warning: ") && l.contains(flag));
        assert_eq!(told.count(), 1, "{flag}: {}", checked.out);
    }
}

#[test]
fn the_key_is_never_shown() {
    let place = Place::with("");
    let mut command = place.command(&["--check-config"]);
    let checked = Checked::of(&command.env("MARSERVE_API_KEY", "hush-hush").output().unwrap());
    assert_eq!(checked.row("api key"), ("(set)".into(), "MARSERVE_API_KEY".into()));
    assert!(!format!("{}{}", checked.out, checked.err).contains("hush-hush"));
}
