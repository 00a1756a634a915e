use std::collections::BTreeSet;
use std::thread;

use mar_engine::Device;
use serde_json::{Value, json};

use crate::support::fake;
use crate::support::http::{get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn workers(server: &TestServer) -> Vec<Value> {
    let mut model = get(&server.management("/models/m")).json();
    let workers = model[0]["workers"].as_array_mut().unwrap();
    for worker in workers.iter_mut() {
        // Other tests run in this process.
        worker.as_object_mut().unwrap().remove("memoryUsage").unwrap();
    }
    std::mem::take(workers)
}

fn scale(server: &TestServer, query: &str) -> u16 {
    put(&server.management(&format!("/models/m?{query}"))).status
}

#[test]
fn workers_come_and_go_within_the_limits() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, control) = TestServer::fake(&[&archive]);
    assert_eq!(workers(&server).len(), 1);
    assert_eq!(scale(&server, "min_worker=3&synchronous=true"), 200);
    let three = workers(&server);
    assert!(three.iter().all(|worker| worker["status"] == "READY"));
    let ids: BTreeSet<&str> = three.iter().map(|worker| worker["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "each has a number of its own");
    assert_eq!(scale(&server, "min_worker=1&max_worker=3&synchronous=true"), 200);
    assert_eq!(workers(&server).len(), 3, "between the limits nothing happens");
    assert_eq!(scale(&server, "min_worker=1&max_worker=2&synchronous=true"), 200);
    let two = workers(&server);
    assert_eq!(two[..], three[..2], "the newest goes");
    assert_eq!(control.loads(), 3);
    assert_eq!(scale(&server, ""), 202, "min_worker is 1 where it is not given");
    assert_eq!(workers(&server).len(), 1);
    assert_eq!(scale(&server, "min_worker=x&max_worker=y&synchronous=true"), 200);
    let model = get(&server.management("/models/m")).json();
    assert_eq!((&model[0]["minWorkers"], &model[0]["maxWorkers"]), (&json!(1), &json!(1)));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
}

#[test]
fn a_version_is_named_by_the_path_or_by_a_parameter() {
    let store = Store::new();
    let archives = ["1.0", "2.0"].map(|version| store.fake("m", version, "echo"));
    let (server, _control) = TestServer::fake(&[&archives[0], &archives[1]]);
    let count = |version: &str| {
        let path = format!("/models/m/{version}");
        get(&server.management(&path)).json()[0]["workers"].as_array().unwrap().len()
    };
    assert_eq!(scale(&server, "min_worker=2&model_version=2.0&synchronous=true"), 200);
    assert_eq!((count("1.0"), count("2.0")), (1, 2));
    assert_eq!(put(&server.management("/models/m/1.0?min_worker=3&synchronous=true")).status, 200);
    assert_eq!((count("1.0"), count("2.0")), (3, 2));
    assert_eq!(scale(&server, "min_worker=2&model_version=9"), 404);
}

#[test]
fn without_workers_requests_are_refused_at_once_and_told_what_to_do() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    assert_eq!(scale(&server, "min_worker=0&synchronous=true"), 200);
    let refused = post(&server.inference("/predictions/m"), b"x").error();
    assert_eq!((refused.0, refused.1.as_str()), (503, "ServiceUnavailableException"));
    assert!(refused.2.contains("\"m\"") && refused.2.contains("min_worker=1"), "{}", refused.2);
    assert_eq!(scale(&server, "min_worker=1&synchronous=true"), 200);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
}

#[test]
fn a_worker_that_goes_answers_what_it_has() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let (server, control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    let on_its_way = thread::spawn(move || post(&url, b"on its way"));
    control.entered.recv().unwrap();
    assert_eq!(scale(&server, "min_worker=0&max_worker=0"), 202);
    control.release_one();
    assert_eq!(on_its_way.join().unwrap().text(), "on its way");
}

#[test]
fn workers_that_do_not_load_leave_everything_as_it_was() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, control) = TestServer::fake(&[&archive]);
    let weights = control.loaded_file();
    let before = workers(&server);
    std::fs::write(&weights, "broken").unwrap();
    let failed = put(&server.management("/models/m?min_worker=3&synchronous=true")).error();
    assert_eq!((failed.0, failed.1.as_str()), (500, "InternalServerException"));
    assert!(failed.2.contains("version: 1.0: the weights are broken"), "{}", failed.2);
    assert_eq!(workers(&server), before);
    let model = get(&server.management("/models/m")).json();
    assert_eq!((&model[0]["minWorkers"], &model[0]["maxWorkers"]), (&json!(1), &json!(1)));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    std::fs::write(&weights, "runs out of memory on load").unwrap();
    assert_eq!(scale(&server, "min_worker=2&synchronous=true"), 507);
    assert_eq!(get(&server.inference("/ping")).status, 200);
}

#[test]
fn weights_that_may_be_shared_are_loaded_once_a_device() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "shared");
    let (server, control) = TestServer::fake(&[&archive]);
    assert_eq!(scale(&server, "min_worker=4&synchronous=true"), 200);
    assert_eq!(control.loads(), 1);
    assert_eq!(post(&server.inference("/predictions/m"), b"panic in forward").status, 503);
    // Those in an unknown state are loaded again, once, and nobody keeps the old ones.
    while control.loads() < 2 {
        thread::yield_now();
    }
    for _ in 0..8 {
        assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    }
    assert_eq!(control.loads(), 2);
}

#[test]
fn workers_on_the_processor_share_its_cores() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let mut settings = settings();
    settings.engine.cores = 4;
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    let ask = || assert_eq!(post(&server.inference("/predictions/m"), b"x").status, 200);
    ask();
    assert_eq!(control.threads(), [4]);
    assert_eq!(scale(&server, "min_worker=2&synchronous=true"), 200);
    ask();
    assert_eq!(control.threads().last(), Some(&2));
    assert_eq!(scale(&server, "min_worker=8&synchronous=true"), 200);
    ask();
    assert_eq!(control.threads().last(), Some(&1));
}

/// The devices on which a model's workers were loaded, with so many CUDA devices in the machine.
fn devices(config: &str, cuda: usize, setup: impl Fn(&TestServer)) -> Vec<Device> {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", config);
    let (runtime, control) = fake::runtime_with(cuda);
    let server = TestServer::start(settings(), fake::handlers(), runtime);
    server.engine.load(None, &archive).unwrap();
    setup(&server);
    control.devices()
}

#[test]
fn workers_go_round_the_cuda_devices_from_the_first() {
    let cuda = |ids: &[usize]| ids.iter().map(|id| Device::Cuda(*id)).collect::<Vec<_>>();
    let three = |server: &TestServer| {
        for workers in 2..=3 {
            assert_eq!(scale(server, &format!("min_worker={workers}&synchronous=true")), 200);
        }
    };
    assert_eq!(devices("{}", 2, three), cuda(&[0, 1, 0]));
    assert_eq!(devices("deviceIds: [3, 1]", 4, three), cuda(&[3, 1, 3]));
    assert_eq!(devices("deviceType: cpu", 2, three), [Device::Cpu; 3]);
    let one_device = |server: &TestServer| {
        assert_eq!(scale(server, "min_worker=3&number_gpu=1&synchronous=true"), 200);
    };
    assert_eq!(devices("{}", 2, one_device), cuda(&[0, 0, 0]));
}

#[test]
fn two_models_do_not_both_begin_on_the_first_device() {
    let store = Store::new();
    let archives = ["m", "n"].map(|name| store.fake(name, "1.0", "echo"));
    let (runtime, control) = fake::runtime_with(2);
    let server = TestServer::start(settings(), fake::handlers(), runtime);
    for archive in &archives {
        server.engine.load(None, archive).unwrap();
    }
    assert_eq!(control.devices(), [Device::Cuda(0), Device::Cuda(1)]);
    let described = &get(&server.management("/models/n")).json()[0];
    assert_eq!(
        (&described["deviceType"], &described["workers"][0]["gpu"]),
        (&json!("gpu"), &json!(true))
    );
    assert_eq!(described["workers"][0]["device"], "cuda:1");
}

#[test]
fn no_more_cuda_devices_are_used_than_allowed() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "minWorkers: 3\n");
    let (runtime, control) = fake::runtime_with(8);
    let mut settings = settings();
    settings.engine.max_cuda_devices = Some(2);
    let server = TestServer::start(settings, fake::handlers(), runtime);
    server.engine.load(None, &archive).unwrap();
    let used: BTreeSet<String> = control.devices().iter().map(ToString::to_string).collect();
    assert_eq!(used, BTreeSet::from(["cuda:0".into(), "cuda:1".into()]));
}
