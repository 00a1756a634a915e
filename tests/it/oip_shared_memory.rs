use std::fs;
use std::path::PathBuf;

use mar_server::Settings;
use serde_json::{Value, json};

use crate::support::http::{Answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// An object of shared memory, removed with this value.
struct Object {
    key: String,
    path: PathBuf,
}

impl Object {
    fn of(name: &str, data: &[u8]) -> Self {
        let key = format!("/marserve-test-{}-{name}", std::process::id());
        let path = PathBuf::from(format!("/dev/shm{key}"));
        fs::write(&path, data).unwrap();
        Self { key, path }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

fn serving(settings: Settings) -> (Store, TestServer) {
    let store = Store::new();
    let config = "handler: {}\nsignature: {inputs: [{name: x}], outputs: [{name: y}]}\n";
    let archive = store.fake_with("m", "1.0", "times 2", config);
    let (server, _) = TestServer::fake_with(settings, &[&archive]);
    (store, server)
}

fn register(server: &TestServer, name: &str, body: &Value) -> Answer {
    let path = format!("/v2/systemsharedmemory/region/{name}/register");
    post(&server.inference(&path), body.to_string().as_bytes())
}

fn status(server: &TestServer) -> Value {
    get(&server.inference("/v2/systemsharedmemory/status")).json()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn infer(server: &TestServer, input: &Value, output: &Value) -> Answer {
    let body = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": input }],
        "outputs": [{ "name": "y", "parameters": output }],
    });
    post(&server.inference("/v2/models/m/infer"), body.to_string().as_bytes())
}

#[test]
fn tensors_are_read_from_regions_and_written_into_them() {
    let (_store, server) = serving(settings());
    let object = Object::of("both", &[floats(&[0.0, 1.5, -2.0]), vec![9; 16]].concat());
    // The region begins behind the first number; the input behind none of it, the output behind both numbers.
    let region = json!({ "key": object.key, "offset": 4, "byte_size": 24 });
    assert_eq!(register(&server, "r", &region).status, 200);
    assert_eq!(
        status(&server),
        json!([{ "name": "r", "key": object.key, "offset": 4, "byte_size": 24 }])
    );
    let input = json!({ "shared_memory_region": "r", "shared_memory_byte_size": 8 });
    let output = json!({ "shared_memory_region": "r", "shared_memory_byte_size": 16,
                         "shared_memory_offset": 8 });
    let told = infer(&server, &input, &output);
    assert_eq!(
        told.json()["outputs"],
        json!([{ "name": "y", "datatype": "FP32", "shape": [1, 2] }]),
        "nothing beside it, as Triton's clients have it"
    );
    let held = fs::read(&object.path).unwrap();
    assert_eq!(held, [floats(&[0.0, 1.5, -2.0, 3.0, -4.0]), vec![9; 8]].concat());

    // What was unlinked meanwhile is still the same memory.
    fs::remove_file(&object.path).unwrap();
    assert_eq!(infer(&server, &input, &json!({})).json()["outputs"][0]["data"], json!([3.0, -4.0]));
    let unregister = server.inference("/v2/systemsharedmemory/region/r/unregister");
    assert_eq!(post(&unregister, b"").status, 200);
    assert_eq!(post(&unregister, b"").status, 200, "it is forgotten already");
    assert_eq!(status(&server), json!([]));
    assert_eq!(infer(&server, &input, &json!({})).status, 404);
}

#[test]
fn places_beyond_what_is_registered_are_refused() {
    let (_store, server) = serving(settings());
    let object = Object::of("small", &[0; 16]);
    register(&server, "r", &json!({ "key": object.key, "offset": 0, "byte_size": 16 }));
    let place = |offset: u64, size: u64| json!({ "shared_memory_region": "r", "shared_memory_byte_size": size, "shared_memory_offset": offset });
    let fine = place(0, 8);
    for (input, output, words) in [
        (place(12, 8), json!({}), "lead beyond region \"r\""),
        (place(u64::MAX, 8), json!({}), "lead beyond region \"r\""),
        (place(0, 4), json!({}), "FP32 of shape [1, 2] takes 8 bytes, and here are 4"),
        (fine.clone(), place(12, 8), "output \"y\": shared_memory_offset 12"),
        (fine.clone(), place(0, 4), "output \"y\": it has 8 bytes"),
        (
            json!({ "shared_memory_region": "r" }),
            json!({}),
            "\"shared_memory_byte_size\" is missing",
        ),
        (
            json!({ "shared_memory_region": 5 }),
            json!({}),
            "\"shared_memory_region\" is not a string",
        ),
        (json!({}), json!({}), "0 of data, binary_data_size and shared_memory_region"),
    ] {
        let told = infer(&server, &input, &output);
        let error = told.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((told.status, error.contains(words)), (400, true), "{input} {output}: {error}");
    }
    // A client that shrinks its memory gets an error, and nobody else does.
    fs::write(&object.path, [0; 4]).unwrap();
    let told = infer(&server, &fine, &json!({}));
    assert_eq!(told.status, 400);
    assert!(told.text().contains("is not what it was"), "{}", told.text());
    fs::write(&object.path, [0; 16]).unwrap();
    assert_eq!(infer(&server, &fine, &json!({})).status, 200);
}

#[test]
fn regions_that_cannot_be_are_refused_by_name() {
    let (_store, server) = serving(settings());
    let object = Object::of("other", &[0; 16]);
    let good = json!({ "key": object.key, "offset": 0, "byte_size": 16 });
    assert_eq!(register(&server, "r", &good).status, 200);
    for (name, body, words) in [
        ("r", good.clone(), "\"r\" is registered already"),
        ("s", json!({ "key": "/no-such-object-of-marserve", "byte_size": 1 }), "cannot be opened"),
        ("s", json!({ "key": "/../../etc/passwd", "byte_size": 1 }), "names no POSIX"),
        ("s", json!({ "key": "/..", "byte_size": 1 }), "names no POSIX"),
        ("s", json!({ "key": object.key, "offset": 8, "byte_size": 9 }), "ends at byte 17"),
        ("s", json!({ "key": object.key, "offset": u64::MAX, "byte_size": 9 }), "overflow"),
        ("s", json!({ "key": object.key }), "missing field `byte_size`"),
        ("s", json!({ "key": object.key, "byte_size": -1 }), "-1"),
        ("s", json!([object.key, 0, 16]), "expected a map"),
    ] {
        let told = register(&server, name, &body);
        let error = told.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((told.status, error.contains(words)), (400, true), "{body}: {error}");
    }
    assert_eq!(get(&server.inference("/v2/systemsharedmemory/region/none/status")).status, 404);
    let one = get(&server.inference("/v2/systemsharedmemory/region/r/status")).json();
    assert_eq!(one[0]["byte_size"], 16);
    assert_eq!(post(&server.inference("/v2/systemsharedmemory/unregister"), b"").status, 200);
    assert_eq!(status(&server), json!([]));
}

#[test]
fn a_link_is_not_followed() {
    let (_store, server) = serving(settings());
    let object = Object::of("target", &[0; 16]);
    let link = Object::of("link", &[]);
    fs::remove_file(&link.path).unwrap();
    std::os::unix::fs::symlink(&object.path, &link.path).unwrap();
    let told = register(&server, "r", &json!({ "key": link.key, "byte_size": 16 }));
    assert_eq!(told.status, 400);
    assert!(told.text().contains("cannot be opened"), "{}", told.text());
}

#[test]
fn a_device_has_no_regions_and_a_server_may_take_none() {
    let (_store, server) = serving(Settings { shared_memory: false, ..settings() });
    let object = Object::of("refused", &[0; 16]);
    let told = register(&server, "r", &json!({ "key": object.key, "byte_size": 16 }));
    assert_eq!(told.status, 400);
    assert!(told.text().contains("allow_shared_memory"), "{}", told.text());
    assert_eq!(get(&server.inference("/v2/cudasharedmemory/status")).json(), json!([]));
    assert_eq!(post(&server.inference("/v2/cudasharedmemory/unregister"), b"").status, 200);
    let cuda = post(&server.inference("/v2/cudasharedmemory/region/r/register"), b"{}");
    assert_eq!(cuda.status, 400);
    assert!(cuda.text().contains("CUDA shared memory is not taken"), "{}", cuda.text());
}
