use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use mar::{Digest, Known};
use mar_engine::{
    CheckRequest, Checked, Device, Engine, EngineConfig, ErrorCode, NoEvents, Result, StageVerdict,
    VerifySamples, VersionState, check,
};
use mar_server::Settings;
use serde_json::{Value, json};

use crate::metrics::value;
use crate::support::fake;
use crate::support::http::{get, post, put};
use crate::support::picture::{self, CONFIG, PIXELS};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;
use crate::versions::under_load;

/// The answer to [`PIXELS`] as it should be.
fn answers(server: &TestServer) {
    let answer = post(&server.inference("/predictions/m"), &PIXELS).json();
    assert!((answer["red"].as_f64().unwrap() - 0.4).abs() < 1e-6, "{answer}");
}

fn with(mode: VerifySamples) -> Settings {
    let mut settings = settings();
    settings.engine.defaults.verify_samples = mode;
    settings
}

fn checked_by(archive: &Path, change: impl FnOnce(&mut CheckRequest)) -> Result<Checked> {
    let temp = tempfile::tempdir().unwrap();
    let mut request = CheckRequest {
        archive: archive.to_owned(),
        threads: 1,
        temp_dir: temp.path().to_owned(),
        ..CheckRequest::default()
    };
    change(&mut request);
    let (runtime, _control) = fake::runtime();
    let checked = check(&request, fake::handlers(), vec![runtime]);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "what was unpacked is gone");
    checked
}

fn checked(archive: &Path) -> Checked {
    checked_by(archive, |_| ()).unwrap()
}

/// The first stage that differs, and how.
fn first(archive: &Path) -> (String, String) {
    let first = checked(archive).first_difference().unwrap();
    (first.stage, first.figures)
}

/// Writes the archive's settings, with one thing changed.
fn configure(archive: &Path, from: &str, to: &str) {
    assert!(CONFIG.contains(from), "{from}");
    fs::write(archive.join("model-config.yaml"), CONFIG.replacen(from, to, 1)).unwrap();
}

fn weights(archive: &Path, behaviour: &str) {
    fs::write(archive.join("weights.fake"), behaviour).unwrap();
}

fn described(server: &TestServer) -> Value {
    get(&server.management("/models/m")).json()[0]["samples"].clone()
}

#[test]
fn what_is_as_it_was_is_reproduced_stage_by_stage() {
    let store = Store::new();
    let checked = checked(&picture::archive(&store, "1.0", 2));
    assert_eq!((checked.model.as_str(), checked.version.as_str()), ("m", "1.0"));
    assert_eq!(checked.device, "cpu");
    assert!(checked.first_difference().is_none(), "{checked:?}");
    assert_eq!(checked.samples.len(), 2);
    for sample in &checked.samples {
        assert_eq!(sample.made_by.as_deref(), Some("pencil and paper"));
        let stages: Vec<&str> = sample.stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(stages, ["decode", "resize", "normalise", "forward", "answer", "answer"]);
        assert!(sample.stages.iter().all(|stage| stage.verdict == StageVerdict::Reproduced));
        assert!(sample.stages[5].figures.starts_with("?format=winner: "), "{sample:?}");
    }
}

#[test]
fn the_first_stage_that_differs_is_named() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    for (from, to, stage, words) in [
        ("mean: [0.5,", "mean: [0.501,", "normalise", "means are 0.199, 0.15, -0.025 where 0.2,"),
        ("row: 0", "row: 0, reversed: true", "normalise", "values are too far"),
        ("row: 0", "row: 1", "resize", "100 % of values differ, by 246 at most"),
        ("[red, green, blue]", "[green, red, blue]", "answer", "/red: "),
        ("row: 0", "row: 0, panics: decode", "decode", "panicked in preprocess: "),
        ("row: 0", "row: 0, panics: answer", "answer", "panicked in postprocess: "),
    ] {
        configure(&archive, from, to);
        let (found, figures) = first(&archive);
        assert_eq!(found, stage, "{to}: {figures}");
        assert!(figures.contains(words), "{to}: {figures}");
    }
    fs::write(archive.join("model-config.yaml"), CONFIG).unwrap();
    for (behaviour, words) in [
        ("times 2.1", "at 6 known places the largest difference is 0.055"),
        ("panics", "panicked in inference: "),
    ] {
        weights(&archive, behaviour);
        let (found, figures) = first(&archive);
        assert_eq!(found, "forward", "{behaviour}: {figures}");
        assert!(figures.contains(words), "{behaviour}: {figures}");
    }
}

#[test]
fn what_is_not_known_is_passed_over_and_said_where_it_matters() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    let mut sample = picture::sample(&archive, 0);
    let all = sample.known.clone();
    sample.known = Known { answers: all.answers.clone(), ..Known::default() };
    picture::know(&archive, vec![sample.clone()]);
    weights(&archive, "times 3");
    let (stage, figures) = first(&archive);
    assert_eq!(stage, "answer");
    assert!(figures.ends_with("what the network gave is not known, so it may be the cause"));
    // Without an answer the network is run for what it gives.
    sample.known = Known { output: all.output.clone(), ..Known::default() };
    picture::know(&archive, vec![sample.clone()]);
    assert_eq!(first(&archive).0, "forward");
    // A stage that the handler does not show is no difference; one that fails on the way is.
    sample.known = Known { stages: all.stages.clone(), ..Known::default() };
    sample.known.stages[0].stage = "tokens".into();
    picture::know(&archive, vec![sample]);
    let shown = checked(&archive);
    assert!(shown.first_difference().is_none());
    assert_eq!(shown.samples[0].stages[0].verdict, StageVerdict::NotCompared);
    assert!(shown.samples[0].stages[0].figures.ends_with("it shows decode, resize, normalise"));
}

#[test]
fn what_cannot_be_checked_is_an_error_that_says_why() {
    let store = Store::new();
    let without = picture::archive(&store, "1.0", 0);
    let archive = picture::archive(&store, "2.0", 1);
    let refused = |archive: &Path, change: fn(&mut CheckRequest)| {
        let error = checked_by(archive, change).unwrap_err();
        error.message().to_owned()
    };
    let none = refused(&without, |_| ());
    assert!(
        none.ends_with("has no known answers; pack it with mar pack --sample FILE --expect FILE")
    );
    let device = refused(&archive, |request| request.device = Some(Device::Cuda(1)));
    assert_eq!(device, "there is no cuda:1: fake finds no CUDA device; give --device cpu");
    let handler = refused(&archive, |request| request.handler = Some("nobody".into()));
    assert!(handler.starts_with("no handler \"nobody\""), "{handler}");
    configure(&archive, "row: 0", "rows: 0");
    assert!(refused(&archive, |_| ()).contains("unknown field `rows`"));
    fs::write(archive.join("model-config.yaml"), CONFIG).unwrap();
    weights(&archive, "broken");
    assert_eq!(refused(&archive, |_| ()), "the weights are broken");
    weights(&archive, "panics on load");
    assert!(refused(&archive, |_| ()).contains("no such layer"));
    fs::write(archive.join("samples/0.input"), "other").unwrap();
    weights(&archive, picture::WEIGHTS);
    assert!(refused(&archive, |_| ()).contains("samples/0.input"));
    let gone = refused(Path::new("no such archive.mar"), |_| ());
    assert!(gone.contains("no such archive.mar"), "{gone}");
}

fn marserve(arguments: &[&str]) -> Output {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
    command.arg("check").args(arguments).env("TMPDIR", temp.path()).output().unwrap()
}

#[test]
fn the_command_ends_with_2_where_nothing_was_checked() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 0).display().to_string();
    for (arguments, words) in [
        (&[archive.as_str()][..], "marserve: not checked: "),
        (&[archive.as_str()], "has no known answers; pack it with mar pack --sample"),
        (&["nowhere.mar"], "nowhere.mar"),
        (&[], "Usage: marserve check"),
        (&[archive.as_str(), "--device", "tpu"], "give cpu, or cuda:0, cuda:1 and so on"),
    ] {
        let ended = marserve(arguments);
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
        assert!(ended.stdout.is_empty());
    }
    let json = marserve(&[&archive, "--json"]);
    assert_eq!(json.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["verdict"], "not_checked");
    assert!(told["reason"].as_str().unwrap().contains("no known answers"), "{told}");
    let help = marserve(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--device <DEVICE>") && help.contains("Exit status: 0"), "{help}");
}

#[test]
fn a_model_that_differs_serves_with_a_warning() {
    crate::logging::heard();
    let store = Store::new();
    let archive = picture::archive(&store, "6.5", 2);
    configure(&archive, "mean: [0.5,", "mean: [0.75,");
    let (server, control) = TestServer::fake_with(with(VerifySamples::Warn), &[&archive]);
    assert_eq!(server.state("m"), VersionState::Ready);
    let told = described(&server);
    assert_eq!((&told["mode"], &told["verdict"]), (&json!("warn"), &json!("differs")));
    assert_eq!(
        (&told["replayed"], &told["differing"], &told["of"]),
        (&json!(2), &json!(2), &json!(2))
    );
    let first = &told["first_difference"];
    assert_eq!((&first["sample"], &first["stage"]), (&"picture-0".into(), &"normalise".into()));
    let lines = crate::logging::holding("m-6.5-cpu-0: known answers are not reproduced");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let words = "2 of 2 replayed: sample \"picture-0\" differs at normalise: ";
    assert!(lines[0].text.contains(words), "{lines:?}");
    assert!(lines[0].text.contains(first["figures"].as_str().unwrap()), "{lines:?}");
    assert_eq!(samples_figures(&server, "6.5"), [Some(0.0), Some(2.0), Some(0.0)]);
    assert_eq!(post(&server.inference("/predictions/m"), &PIXELS).status, 200);
    assert_eq!(control.loads(), 1);
    let ended = put(&server.management("/models/m?min_worker=0&max_worker=0&synchronous=true"));
    assert_eq!(ended.status, 200, "{}", ended.text());
    assert_eq!(described(&server), told, "what was found out stays");
}

/// `reproduced`, `differs` and `skipped`, where they are told.
fn samples_figures(server: &TestServer, version: &str) -> [Option<f64>; 3] {
    let page = get(&format!("{}/metrics", server.metrics().unwrap()));
    ["reproduced", "differs", "skipped"].map(|result| {
        let labels = [("model_name", "m"), ("model_version", version), ("result", result)];
        value(page.text(), "marserve_samples", &labels)
    })
}

#[test]
fn no_more_than_three_samples_are_replayed_at_a_load() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 0);
    let mut samples: Vec<_> = (0..5).map(|index| picture::sample(&archive, index)).collect();
    samples[3].known.output[0].max = 9.0;
    picture::know(&archive, samples);
    let (server, control) = TestServer::fake_with(with(VerifySamples::Strict), &[&archive]);
    answers(&server);
    let told = described(&server);
    assert_eq!(
        told,
        json!({
            "mode": "strict", "verdict": "reproduced", "replayed": 3, "differing": 0, "of": 5,
        })
    );
    assert_eq!(samples_figures(&server, "1.0"), [Some(3.0), Some(0.0), Some(2.0)]);
    // Three samples with two answers each, and the request.
    assert_eq!(control.take_batches(), [1; 7]);
    assert_eq!(control.threads(), [1, 1], "as many threads as a batch has");
    assert_eq!(checked(&archive).first_difference().unwrap().sample, "picture-3");
}

#[test]
fn nothing_is_replayed_where_it_is_off_or_there_is_nothing() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "times 3");
    let (server, control) = TestServer::fake_with(with(VerifySamples::Off), &[&archive]);
    assert_eq!(described(&server)["verdict"], "off");
    assert_eq!(samples_figures(&server, "1.0"), [None; 3]);
    assert!(control.take_batches().is_empty());
    let without = picture::archive(&store, "2.0", 0);
    let (server, control) = TestServer::fake_with(with(VerifySamples::Strict), &[&without]);
    answers(&server);
    let none = json!({"mode": "strict", "verdict": "none", "replayed": 0, "differing": 0, "of": 0});
    assert_eq!(described(&server), none);
    assert_eq!(samples_figures(&server, "2.0"), [None; 3]);
    assert_eq!(control.take_batches(), [1]);
}

#[test]
fn strictly_a_model_that_differs_never_serves() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "times 3");
    let good = store.fake("other", "1.0", "echo");
    let strict = with(VerifySamples::Strict);
    let (server, control) = TestServer::fake_with(strict.clone(), &[&archive, &good]);
    let VersionState::Failed(reason) = server.state("m") else { panic!("{:?}", server.state("m")) };
    let words = "known answers are not reproduced: sample \"picture-0\" differs at forward: ";
    assert!(reason.starts_with(words), "{reason}");
    let refused = post(&server.inference("/predictions/m"), &PIXELS).error();
    assert_eq!((refused.0, refused.1.as_str()), (503, "ServiceUnavailableException"));
    assert!(refused.2.contains(&reason), "{refused:?}");
    let told = &get(&server.management("/models/m")).json()[0];
    assert_eq!((&told["state"], &told["reason"]), (&"FAILED".into(), &reason.as_str().into()));
    assert_eq!(told["workers"][0]["state"], "FAILED", "it is not tried again");
    assert_eq!(told["samples"]["verdict"], "differs");
    assert_eq!(samples_figures(&server, "1.0"), [Some(0.0), Some(1.0), Some(0.0)]);
    assert_eq!(post(&server.inference("/predictions/other"), b"x").text(), "x");
    assert_eq!(control.loads(), 2);

    // Registered over the network, it is an error at once, and nothing stays.
    let (server, control) = TestServer::managed_with(strict, &store);
    for more in ["", "&batch_size=4"] {
        let url = format!("/models?url=m-1.0&initial_workers=2&synchronous=true{more}");
        let refused = post(&server.management(&url), b"").error();
        assert!(refused.2.contains(words), "{refused:?}");
        assert_eq!(get(&server.management("/models/m")).status, 404);
    }
    // Without waiting for it, it says so in its state.
    let url = "/models?url=m-1.0&initial_workers=1&synchronous=false";
    assert_eq!(post(&server.management(url), b"").status, 202);
    while server.state("m") == VersionState::Loading {
        std::thread::yield_now();
    }
    assert!(matches!(server.state("m"), VersionState::Failed(_)));
    let loads = control.loads();
    // Scaled up, it is looked at anew.
    let scaled = put(&server.management("/models/m?min_worker=1&synchronous=true")).error();
    assert!(scaled.2.contains(words), "{scaled:?}");
    assert_eq!(control.loads(), loads + 1);
}

#[test]
fn a_replacement_that_differs_leaves_the_one_that_serves() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed_with(with(VerifySamples::Strict), &store);
    let replace = || {
        let url = "/models?url=m-1.0&initial_workers=1&replace=true&synchronous=true";
        post(&server.management(url), b"")
    };
    assert_eq!(replace().status, 200);
    let answered = under_load(
        &server,
        |text| assert_eq!(text, "x"),
        || {
            fs::remove_dir_all(&archive).unwrap();
            let differs = picture::archive(&store, "1.0", 1);
            weights(&differs, "times 3");
            let refused = replace().error();
            assert!(refused.2.contains("differs at forward"), "{refused:?}");
            assert_eq!(server.state("m"), VersionState::Ready);
        },
    );
    assert!(answered >= 100);
    assert_eq!(described(&server)["verdict"], "none", "that of the one that serves");
    weights(&archive, picture::WEIGHTS);
    assert_eq!(replace().status, 200);
    assert_eq!(described(&server)["verdict"], "reproduced");
    answers(&server);
}

#[test]
fn an_archive_may_be_stricter_than_the_server_and_never_laxer_than_strict() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "times 3");
    for (server, archives, serves) in [
        (VerifySamples::Warn, "strict", false),
        (VerifySamples::Off, "strict", false),
        (VerifySamples::Warn, "off", true),
        (VerifySamples::Strict, "off", false),
    ] {
        let config = format!("verifySamples: {archives}\n{CONFIG}");
        fs::write(archive.join("model-config.yaml"), config).unwrap();
        let (server, _control) = TestServer::fake_with(with(server), &[&archive]);
        assert_eq!(server.state("m") == VersionState::Ready, serves, "{archives}");
    }
}

#[test]
fn weights_that_panicked_in_a_replay_are_loaded_again_before_they_serve() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "panics");
    let (server, control) = TestServer::fake_with(with(VerifySamples::Warn), &[&archive]);
    assert_eq!(server.state("m"), VersionState::Ready);
    assert_eq!(control.loads(), 2);
    let first = &described(&server)["first_difference"];
    assert_eq!(first["stage"], "forward");
    assert!(first["figures"].as_str().unwrap().contains("a tensor of lead"), "{first}");
    // A handler that panics has touched no weights.
    weights(&archive, picture::WEIGHTS);
    configure(&archive, "row: 0", "row: 0, panics: answer");
    let (server, control) = TestServer::fake_with(with(VerifySamples::Warn), &[&archive]);
    assert_eq!((server.state("m"), control.loads()), (VersionState::Ready, 1));
    assert_eq!(described(&server)["first_difference"]["stage"], "answer");
}

#[test]
fn a_device_that_is_lost_in_a_replay_is_lost_to_the_server() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let mut sample = picture::sample(&archive, 0);
    let input = "lose the device";
    fs::write(archive.join(&sample.input.file), input).unwrap();
    sample.input.sha256 = Digest::of(input.as_bytes()).to_string();
    let answers = sample.known.answers;
    sample.known = Known { answers, ..Known::default() };
    picture::know(&archive, vec![sample]);
    let (runtime, _control) = fake::runtime();
    let temp = tempfile::tempdir().unwrap();
    let config = EngineConfig { temp_dir: temp.path().into(), ..with(VerifySamples::Warn).engine };
    let engine = Engine::new(config, fake::handlers(), vec![runtime], Arc::new(NoEvents)).unwrap();
    let version = engine.load(None, &archive).unwrap();
    assert_eq!(version.state().reason(), Some("the model failed: CUDA error"));
    assert_eq!(engine.lost_device(), Some(Device::Cpu));
}

#[test]
fn known_answers_that_cannot_be_read_are_told_or_end_the_load() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    fs::write(archive.join(mar::SAMPLES_NAME), "{").unwrap();
    let (server, _control) = TestServer::fake_with(with(VerifySamples::Warn), &[&archive]);
    answers(&server);
    let told = described(&server);
    assert_eq!((&told["verdict"], &told["of"]), (&json!("unreadable"), &json!(0)));
    assert!(told["reason"].as_str().unwrap().contains("samples.json"), "{told}");
    let (server, control) = TestServer::fake_with(with(VerifySamples::Strict), &[&archive]);
    let VersionState::Failed(reason) = server.state("m") else { panic!("{:?}", server.state("m")) };
    assert!(reason.starts_with("the known answers cannot be replayed: "), "{reason}");
    assert_eq!(control.loads(), 0);
}

#[test]
fn weights_that_are_shared_are_looked_at_once_and_each_that_is_loaded_alone() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    let serve = |behaviour: &str| {
        weights(&archive, behaviour);
        let (runtime, control) = fake::runtime();
        let temp = tempfile::tempdir().unwrap();
        let config =
            EngineConfig { temp_dir: temp.path().into(), ..with(VerifySamples::Warn).engine };
        let engine =
            Engine::new(config, fake::handlers(), vec![runtime], Arc::new(NoEvents)).unwrap();
        engine.load(None, &archive).unwrap();
        engine.scale("m", None, (3, 3), None).unwrap().wait().unwrap();
        let told = engine.version("m", None).unwrap().samples().unwrap();
        assert_eq!(told.replayed, 1);
        (control.loads(), control.take_batches().len())
    };
    // Two answers a load.
    assert_eq!(serve("times 2"), (3, 6));
    assert_eq!(serve("shared"), (1, 2));
}

#[test]
fn a_replay_that_hangs_is_given_up_like_a_load() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "gated");
    let config = format!("maxRetryTimeoutInSec: 0\n{CONFIG}");
    fs::write(archive.join("model-config.yaml"), config).unwrap();
    let mut settings = with(VerifySamples::Warn);
    settings.engine.defaults.startup_timeout = Duration::from_millis(300);
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    let VersionState::Failed(reason) = server.state("m") else { panic!("{:?}", server.state("m")) };
    assert_eq!(reason, "the worker did not load its model within 0.3 s");
    assert_eq!(described(&server)["verdict"], "pending");
    assert_eq!(control.loads(), 1);
    // Once it does come back, another finds out what there is to know.
    control.release_all();
    let scaled = put(&server.management("/models/m?min_worker=1&synchronous=true"));
    assert_eq!(scaled.status, 200, "{}", scaled.text());
    assert_eq!(described(&server)["first_difference"]["stage"], "forward");
    assert_eq!(post(&server.inference("/predictions/m"), &PIXELS).status, 200);
}

#[test]
fn strictly_weights_that_are_loaded_later_are_looked_at_too_and_the_others_go_on() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    let (server, control) = TestServer::fake_with(with(VerifySamples::Strict), &[&archive]);
    answers(&server);
    fs::write(control.loaded_file(), "times 3").unwrap();
    let error = server.engine.scale("m", None, (2, 2), None).unwrap().wait().unwrap_err();
    assert!(error.message().contains("differs at forward"), "{error}");
    assert_eq!((server.state("m"), control.loads()), (VersionState::Ready, 2));
    assert_eq!(server.engine.version("m", None).unwrap().workers().len(), 1);
    answers(&server);
    assert_eq!(described(&server)["verdict"], "differs", "that of the last load");
}

#[test]
fn strictly_a_device_that_answers_otherwise_serves_nobody() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 1);
    weights(&archive, "uneven");
    let serve = |mode| {
        let (runtime, control) = fake::runtime_with(2);
        let mut settings = with(mode);
        settings.engine.defaults.workers = Some(2);
        let server = TestServer::start(settings, fake::handlers(), runtime);
        server.engine.load(None, &archive).unwrap();
        (server, control)
    };
    let (server, _control) = serve(VerifySamples::Strict);
    let mut states: Vec<(String, String)> = server
        .engine
        .version("m", None)
        .unwrap()
        .workers()
        .iter()
        .map(|worker| (worker.device.to_string(), worker.state.to_string()))
        .collect();
    states.sort();
    let expected = [("cuda:0", "READY"), ("cuda:1", "FAILED")];
    assert_eq!(states, expected.map(|(device, state)| (device.into(), state.into())));
    for _ in 0..8 {
        answers(&server);
    }
    let told = described(&server);
    assert_eq!((&told["verdict"], &told["differing"]), (&json!("differs"), &json!(1)));
    // With a warning it serves, and what is told is that of the device where it is worst.
    let (server, control) = serve(VerifySamples::Warn);
    assert_eq!(described(&server)["verdict"], "differs");
    assert_eq!((server.state("m"), control.loads()), (VersionState::Ready, 2));
}

#[test]
fn a_version_without_workers_says_that_nobody_looked_yet() {
    let store = Store::new();
    picture::archive(&store, "1.0", 2);
    let (server, _control) = TestServer::managed_with(with(VerifySamples::Warn), &store);
    assert_eq!(post(&server.management("/models?url=m-1.0&initial_workers=0"), b"").status, 200);
    let told = described(&server);
    assert_eq!((&told["verdict"], &told["of"]), (&json!("pending"), &json!(2)));
    let error = server.engine.version("m", Some("2.0")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VersionNotFound);
    assert_eq!(put(&server.management("/models/m?min_worker=1&synchronous=true")).status, 200);
    assert_eq!(described(&server)["verdict"], "reproduced");
}
