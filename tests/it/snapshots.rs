use std::path::Path;

use mar_server::{Listed, ModelSource};
use serde_json::{Value, json};

use crate::support::http::{delete, get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// The members `models` of the snapshots in a folder, oldest first, each with the kind in its name.
pub(crate) fn snapshots(folder: &Path) -> Vec<(String, Value)> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("model_snapshot=")).unwrap();
        // The format of properties puts a backslash before some characters.
        let snapshot: Value = serde_json::from_str(&line.replace('\\', "")).unwrap();
        assert_eq!(snapshot["modelCount"], snapshot["models"].as_object().unwrap().len());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let kind = name.rsplit('-').next().unwrap().to_owned();
        (kind, snapshot["models"].clone())
    };
    files.iter().map(read).collect()
}

#[test]
fn every_change_is_written_down_as_torchserve_writes_it() {
    let store = Store::new();
    let folder = tempfile::tempdir().unwrap();
    for version in ["1.0", "2.0"] {
        store.fake_with("m", version, "echo", "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 4\n");
    }
    let mut settings = settings();
    settings.snapshots = Some(folder.path().join("config"));
    let (server, _control) = TestServer::managed_with(settings, &store);
    let call = |answer: crate::support::http::Answer| assert_eq!(answer.status, 200);
    call(post(&server.management("/models?url=m-1.0"), b""));
    call(post(&server.management("/models?url=m-2.0&response_timeout=9"), b""));
    call(put(&server.management("/models/m/2.0/set-default")));
    call(put(&server.management("/models/m/2.0?min_worker=3&max_worker=5&synchronous=true")));
    call(delete(&server.management("/models/m/1.0")));
    assert_eq!(delete(&server.management("/models/x")).status, 404, "nothing changed");
    drop(server);

    let written = snapshots(&folder.path().join("config"));
    let (last, models) = written.last().unwrap();
    assert_eq!(last, "shutdown");
    let expected = json!({ "m": { "2.0": {
        "defaultVersion": true,
        "marName": "m-2.0",
        "minWorkers": 3,
        "maxWorkers": 5,
        "batchSize": 4,
        "maxBatchDelay": 100,
        "responseTimeout": 9,
        "startupTimeout": 120,
        "runtimeType": "python",
    } } });
    assert_eq!(models, &expected);
    assert_eq!(written[0], ("startup".to_owned(), json!({})));
    let changes = &written[1..written.len() - 1];
    assert!(changes.iter().all(|(kind, _)| kind == "snapshot"));
    let defaults: Vec<bool> = changes
        .iter()
        .map(|(_, models)| models["m"]["1.0"]["defaultVersion"] == json!(true))
        .collect();
    assert_eq!(defaults[..2], [true, true], "the first registered, until another is chosen");
    assert!(!defaults[2..].contains(&true));
}

#[test]
fn without_a_folder_nothing_is_written() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    assert_eq!(post(&server.management("/models?url=m-1.0"), b"").status, 200);
    drop(server);
    let left: Vec<_> = std::fs::read_dir(store.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn versions_come_back_with_their_workers_and_their_default() {
    let store = Store::new();
    let one = store.fake_with("m", "1.0", "echo", "minWorkers: 1\nbatchSize: 2\n");
    let two = store.fake("m", "2.0", "echo");
    let mut settings = settings();
    let mut restore = |path: &Path, version: &str, workers: (usize, usize), batch: usize| {
        let mut listed = Listed { default_version: version == "2.0", ..Listed::default() };
        listed.overrides.min_workers = Some(workers.0);
        listed.overrides.max_workers = Some(workers.1);
        listed.overrides.batch_size = Some(batch);
        let name = Some("other".to_owned());
        let restored = Some(listed.clone());
        settings.models.push(ModelSource { name, path: path.to_owned(), restored, url: None });
        settings.store.listed.entry("other".into()).or_default().insert(version.into(), listed);
    };
    restore(&one, "1.0", (3, 4), 8);
    restore(&two, "2.0", (0, 0), 1);
    let (server, _control) = TestServer::fake_with(settings, &[]);
    let described = |version: &str| {
        get(&server.management(&format!("/models/other/{version}"))).json()[0].clone()
    };
    let first = described("1.0");
    assert_eq!((&first["minWorkers"], &first["maxWorkers"]), (&json!(3), &json!(4)));
    assert_eq!(first["workers"].as_array().unwrap().len(), 3);
    assert_eq!(first["batchSize"], 8);
    assert_eq!(described("2.0")["workers"], json!([]));
    assert_eq!(get(&server.management("/models/other")).json()[0]["modelVersion"], "2.0");
}
