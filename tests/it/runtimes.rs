use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mar_engine::{LoadRequest, Network, VersionState};
use mar_handler::{Error, LoadSpec, Model, Result, Runtime};
use serde_json::{Map, Value, json};

use crate::logging::{heard, holding};
use crate::support::fake;
use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// Why a model did not load.
fn refused(server: &TestServer, model: &str) -> String {
    match server.state(model) {
        VersionState::Failed(reason) => reason,
        other => panic!("it is {other:?}"),
    }
}

#[test]
fn what_an_archive_asks_of_its_runtime_reaches_it() {
    let store = Store::new();
    let config = "fake: {providers: [a, b: {c: 1}], level: all}\n";
    let (_server, control) = TestServer::fake(&[&store.fake_with("m", "1.0", "echo", config)]);
    let asked = json!({"providers": ["a", {"b": {"c": 1}}], "level": "all"});
    assert_eq!(Value::Object(control.options()), asked);
    let (_server, control) = TestServer::fake(&[&store.fake("plain", "1.0", "echo")]);
    assert!(control.options().is_empty());
}

#[test]
fn an_option_that_is_none_fails_the_load_by_its_name_and_where_it_stands() {
    let store = Store::new();
    for (name, config, words) in [
        (
            "unknown",
            "fake: {unheard_of: 1}\n",
            "fake: in model-config.yaml: option \"unheard_of\" is not known",
        ),
        ("flat", "fake: fast\n", "fake: in model-config.yaml is not a mapping"),
    ] {
        let (server, control) = TestServer::fake(&[&store.fake_with(name, "1.0", "echo", config)]);
        let reason = refused(&server, name);
        assert!(reason.contains(words), "{reason}");
        assert_eq!(control.loads(), 0, "no worker tries what cannot be");
    }
}

#[test]
fn an_option_of_a_network_without_an_archive_is_looked_at_as_well() {
    let (server, control) = TestServer::fake(&[]);
    let weights = tempfile::Builder::new().suffix(".fake").tempfile().unwrap();
    let network = Network {
        version: "1".into(),
        file: weights.path().into(),
        parameters: Map::from_iter([("unheard_of".to_owned(), "1".into())]),
        ..Network::default()
    };
    let (name, network) = (Some("m".to_owned()), Some(Arc::new(network)));
    server.engine.load_as(&LoadRequest { name, network, ..LoadRequest::default() }).unwrap();
    let reason = refused(&server, "m");
    assert!(reason.starts_with("option \"unheard_of\" is not known"), "{reason}");
    assert_eq!(control.loads(), 0);
}

#[test]
fn a_section_of_a_runtime_that_does_not_run_the_model_is_said_to_have_no_effect() {
    heard();
    let store = Store::new();
    let config = "fake: {level: all}\nother: {level: all}\n";
    let archive = store.fake_with("two-sections", "1.0", "echo", config);
    let (runtime, _control) = fake::runtime();
    let runtimes = vec![Other::arc(), runtime];
    let server = TestServer::start_with(settings(), fake::handlers(), runtimes);
    server.engine.load(None, &archive).unwrap();
    assert_eq!(server.state("two-sections"), VersionState::Ready);
    let told = holding("other: in model-config.yaml has no effect");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("weights.fake is run by fake, and not by another"), "{told:?}");
    assert!(holding("fake: in model-config.yaml has no effect").is_empty());
}

#[test]
fn a_runtime_keeps_what_it_makes_where_the_server_says_and_nowhere_else() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (_server, control) = TestServer::fake(&[&archive]);
    assert_eq!(control.cache(), None, "nothing is said");

    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("marserve/models");
    assert_eq!(kept(&cache, &archive), Some(cache.clone()));
    assert!(cache.is_dir());

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    heard();
    assert_eq!(kept(&file, &archive), None, "it serves all the same");
    let told = holding(&file.display().to_string());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("nothing is kept for the next start"), "{told:?}");
}

/// Where the runtime of a server with this cache might keep things.
fn kept(cache: &Path, archive: &Path) -> Option<PathBuf> {
    let mut settings = settings();
    settings.engine.model_cache = Some(cache.to_owned());
    let (server, control) = TestServer::fake_with(settings, &[archive]);
    assert_eq!(server.state("m"), VersionState::Ready);
    control.cache()
}

/// An archive in batches of 8, whose network takes this many rows alone.
fn fixed(store: &Store, name: &str, behaviour: &str, rows: &str) -> PathBuf {
    let config = format!(
        "batchSize: 8\nmaxBatchDelay: 1000000\nsignature: {{inputs: [{{name: text, shape: [{rows}, -1]}}]}}\n"
    );
    store.fake_with(name, "1.0", behaviour, &config)
}

/// Sends so many requests at once; each has to come back as it was sent.
fn echoed(server: &TestServer, model: &str, requests: u8) {
    let url = server.inference(&format!("/predictions/{model}"));
    thread::scope(|scope| {
        for number in 0..requests {
            let url = &url;
            scope.spawn(move || {
                let body = [b'a' + number; 3];
                let answer = post(url, &body);
                assert_eq!((answer.status, &answer.body[..]), (200, &body[..]));
            });
        }
    });
}

#[test]
fn a_network_of_a_batch_of_one_is_served_one_request_at_a_time_and_says_why() {
    heard();
    let store = Store::new();
    let (server, control) = TestServer::fake(&[&fixed(&store, "one-row", "echo", "1")]);
    // None waits for others, which would be for longer than any test.
    echoed(&server, "one-row", 3);
    assert_eq!(control.take_batches(), [1, 1, 1]);
    let why =
        "the network fixes the first side of input \"text\" to 1, so requests share no batches";
    let told = get(&server.management("/models/one-row")).json()[0].clone();
    assert_eq!(told["batchSize"], 1, "{told}");
    let reason = told["batchSizeReason"].as_str().unwrap();
    assert!(reason.starts_with(why) && reason.contains("export it with a dynamic"), "{reason}");
    let warned = holding("model one-row: batch size 1 where 8 is asked for");
    assert!(warned.iter().any(|line| line.text.contains(why)), "{warned:?}");
}

#[test]
fn a_registration_that_asks_for_batches_a_network_does_not_take_is_told_so() {
    let store = Store::new();
    let archive = fixed(&store, "m", "echo", "1");
    let config = "signature: {inputs: [{name: text, shape: [1, -1]}]}\n";
    fs::write(archive.join("model-config.yaml"), config).unwrap();
    let (server, _control) = TestServer::managed(&store);
    let query = "/models?url=m-1.0&batch_size=6&initial_workers=1&synchronous=true";
    assert_eq!(post(&server.management(query), b"").status, 200);
    let told = get(&server.management("/models/m")).json()[0].clone();
    assert_eq!(told["batchSize"], 1, "{told}");
    assert!(told["batchSizeReason"].is_string(), "{told}");
}

#[test]
fn where_nothing_is_lost_nothing_is_said() {
    let store = Store::new();
    let config = "signature: {inputs: [{name: text, shape: [1, -1]}]}\n";
    let single = store.fake_with("single", "1.0", "echo", config);
    let (server, _control) = TestServer::fake(&[&single, &fixed(&store, "free", "echo", "-1")]);
    for (model, size) in [("single", 1), ("free", 8)] {
        let told = get(&server.management(&format!("/models/{model}"))).json()[0].clone();
        assert_eq!(told["batchSize"], size, "{told}");
        assert!(told.get("batchSizeReason").is_none(), "{told}");
    }
}

#[test]
fn a_network_of_batches_of_one_size_is_given_full_ones() {
    let store = Store::new();
    let (server, control) = TestServer::fake(&[&fixed(&store, "four", "echo", "4")]);
    let told = get(&server.management("/models/four")).json()[0].clone();
    assert_eq!(told["batchSize"], 4, "{told}");
    assert!(told["batchSizeReason"].as_str().unwrap().contains("to 4, so a batch has at most 4"));
    echoed(&server, "four", 4);
    assert_eq!(control.take_batches(), [4], "it went once it was full");

    let archive = fixed(&store, "few", "echo", "4");
    let config = fs::read_to_string(archive.join("model-config.yaml")).unwrap();
    let at_once = config.replace("maxBatchDelay: 1000000", "maxBatchDelay: 0");
    fs::write(archive.join("model-config.yaml"), at_once).unwrap();
    let (server, control) = TestServer::fake(&[&archive]);
    echoed(&server, "few", 1);
    assert_eq!(control.take_batches(), [4], "one request, and three copies of it");
}

#[test]
fn what_really_runs_a_model_is_told_to_all_who_ask() {
    heard();
    let store = Store::new();
    let config = "minWorkers: 2\nfake: {providers: [cpu], level: all}\n";
    let told = json!({"runtime": "fake", "providers": ["cpu"], "level": "all"});
    let (server, _control) =
        TestServer::fake(&[&store.fake_with("telling", "1.0", "echo", config)]);
    let described = get(&server.management("/models/telling")).json()[0].clone();
    assert_eq!(described["execution"], told, "{described}");
    assert_eq!(described["runtime"], "python", "TorchServe's word stays");
    for worker in described["workers"].as_array().unwrap() {
        assert_eq!(worker["execution"], told, "{described}");
    }
    let network = get(&server.inference("/v2/models/telling")).json();
    let property = network["properties"]["execution"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(property).unwrap(), told);
    let lines = holding("run by fake (providers: ");
    let of_workers = lines.iter().filter(|line| line.text.contains("telling"));
    assert_eq!(of_workers.count(), 2, "{lines:?}");

    let silent = TestServer::fake(&[&store.fake("silent", "1.0", "echo")]).0;
    let described = get(&silent.management("/models/silent")).json()[0].clone();
    assert_eq!(described["execution"], json!({"runtime": "fake"}));
    let network = get(&silent.inference("/v2/models/silent")).json();
    assert!(network["properties"].get("execution").is_none(), "{network}");
    let (broken, _control) = TestServer::fake(&[&store.fake("broken", "1.0", "broken")]);
    let described = get(&broken.management("/models/broken")).json()[0].clone();
    assert!(described.get("execution").is_none(), "nothing runs: {described}");
}

/// A runtime that opens nothing here.
struct Other;

impl Other {
    fn arc() -> Arc<dyn Runtime> {
        Arc::new(Self)
    }
}

impl Runtime for Other {
    fn name(&self) -> &'static str {
        "another"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["other"]
    }

    fn section(&self) -> Option<&'static str> {
        Some("other")
    }

    fn cuda_devices(&self) -> usize {
        0
    }

    fn load(&self, _: &LoadSpec) -> Result<Arc<dyn Model>> {
        Err(Error::invalid_model("opens nothing"))
    }
}
