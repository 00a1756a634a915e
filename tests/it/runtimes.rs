use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar_engine::VersionState;
use mar_handler::{Error, LoadSpec, Model, Result, Runtime};
use serde_json::{Value, json};

use crate::logging::{heard, holding};
use crate::support::fake;
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
