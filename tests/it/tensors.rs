use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mar_engine::{
    Device, Engine, ErrorCode, Instances, LoadRequest, ModelVersion, Network, QueuePolicy, Result,
    Scheduling, Signature, Tensor, TensorAnswer, TensorRequest, TensorSpec, VersionState, Warmup,
};
use mar_handler::DType;
use serde_json::{Map, json};
use tempfile::TempDir;

use crate::support::fake::{self, Control};
use crate::support::http::{Answer, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// Longer than any test: what waits for it waits for good.
const FOREVER: Duration = Duration::from_secs(100_000);

/// Networks in a folder.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn weights(&self, behaviour: &str) -> PathBuf {
        let file = self.0.path().join(format!("{}.fake", behaviour.replace(' ', "_")));
        std::fs::write(&file, behaviour).unwrap();
        file
    }

    /// A network of one worker that takes up to 8 rows and puts requests together.
    fn network(&self, behaviour: &str) -> Network {
        Network {
            version: "1".into(),
            file: self.weights(behaviour),
            max_batch_size: 8,
            scheduling: together(),
            ..Network::default()
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Batches that go once they are full.
fn together() -> Scheduling {
    Scheduling { dynamic: true, max_delay: FOREVER, ..Scheduling::default() }
}

/// Each request by itself.
fn alone() -> Scheduling {
    Scheduling { dynamic: false, ..together() }
}

fn load(engine: &Engine, name: &str, network: Network) -> Arc<ModelVersion> {
    engine.load_as(&of(name, network)).unwrap()
}

fn of(name: &str, network: Network) -> LoadRequest {
    LoadRequest {
        archive: "no such folder".into(),
        name: Some(name.into()),
        network: Some(Arc::new(network)),
        ..LoadRequest::default()
    }
}

/// A server with one network, `m`.
fn serving(network: Network) -> (TestServer, Control) {
    let (server, control) = TestServer::fake(&[]);
    load(&server.engine, "m", network);
    assert_eq!(server.state("m"), VersionState::Ready);
    (server, control)
}

/// Rows of two numbers, which count on from `first`.
fn rows(first: u8, rows: u8) -> Tensor {
    let values: Vec<f32> = (0..2 * rows).map(|i| f32::from(first + i)).collect();
    Tensor::from_vec(&[rows.into(), 2], values).unwrap()
}

fn request(input: Tensor) -> TensorRequest {
    TensorRequest { inputs: vec![input], ..TensorRequest::default() }
}

fn infer(engine: &Engine, name: &str, request: TensorRequest) -> Result<TensorAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let admission = engine.admit().unwrap();
    runtime.block_on(engine.infer(&admission, name, None, request))
}

type Asked = JoinHandle<Result<TensorAnswer>>;

fn ask(engine: &Arc<Engine>, name: &'static str, request: TensorRequest) -> Asked {
    let engine = Arc::clone(engine);
    thread::spawn(move || infer(&engine, name, request))
}

/// What is refused: its kind and its words.
fn refused(engine: &Engine, request: TensorRequest) -> (ErrorCode, String) {
    let error = infer(engine, "m", request).unwrap_err();
    (error.code(), error.message().to_owned())
}

/// A server whose only worker is busy, so that what comes now waits.
struct Busy {
    server: TestServer,
    control: Control,
    first: Asked,
    _repository: Repository,
}

impl Busy {
    /// With a network that is scheduled like this, and a first request that fills a batch.
    fn new(scheduling: Scheduling) -> Self {
        let repository = Repository::new();
        let network = Network { scheduling, ..repository.network("gated") };
        let (server, control) = serving(network);
        let first = ask(&server.engine, "m", request(rows(0, 8)));
        control.entered.recv().unwrap();
        Self { server, control, first, _repository: repository }
    }

    /// Sends a request and returns once it has its place behind the others.
    fn queue(&self, request: TensorRequest) -> Asked {
        let version = self.server.engine.version("m", None).unwrap();
        let before = version.requests_ready();
        let asked = ask(&self.server.engine, "m", request);
        while version.requests_ready() == before {
            thread::yield_now();
        }
        asked
    }

    /// Lets everything through; what each was answered, and the rows of the batches after the first.
    fn finish(self, asked: Vec<Asked>) -> (Vec<Result<TensorAnswer>>, Vec<usize>) {
        self.control.release_all();
        assert_eq!(self.first.join().unwrap().unwrap().outputs, [rows(0, 8)]);
        let answers = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        (answers, self.control.take_batches().split_off(1))
    }
}

fn outputs(answers: Vec<Result<TensorAnswer>>) -> Vec<Tensor> {
    let output = |answer: Result<TensorAnswer>| {
        let [output] = <[Tensor; 1]>::try_from(answer.unwrap().outputs).unwrap();
        output
    };
    answers.into_iter().map(output).collect()
}

#[test]
fn rows_of_several_requests_are_one_batch_and_each_gets_its_own_back() {
    let repository = Repository::new();
    let (server, control) = serving(repository.network("times 3"));
    let inputs = [rows(1, 3), rows(50, 1), rows(100, 4)];
    let asked = inputs.clone().map(|input| ask(&server.engine, "m", request(input)));
    for (asked, input) in asked.into_iter().zip(inputs) {
        let answer = asked.join().unwrap().unwrap();
        let tripled = input.as_slice::<f32>().unwrap().iter().map(|value| 3.0 * value).collect();
        assert_eq!(answer.outputs, [Tensor::from_vec(input.shape(), tripled).unwrap()]);
        let timing = answer.timing;
        assert_eq!((timing.rows, timing.batch.requests), (input.shape()[0], 3));
        assert_eq!(timing.inference, timing.batch.total());
        assert!(timing.batch.inference > Duration::ZERO && timing.total >= timing.inference);
    }
    assert_eq!(control.take_batches(), [8]);
}

#[test]
fn a_request_alone_comes_back_without_a_copy() {
    let repository = Repository::new();
    let (server, _control) = serving(repository.network("echo"));
    let input = rows(1, 8);
    let address = input.bytes().as_ptr();
    let answer = infer(&server.engine, "m", request(input)).unwrap();
    assert_eq!(answer.outputs[0].bytes().as_ptr(), address);
}

#[test]
fn who_does_not_fit_waits_for_the_next_batch_and_shapes_that_differ_share_none() {
    let busy = Busy::new(together());
    let wide = Tensor::from_vec(&[8, 1], vec![1_f32; 8]).unwrap();
    let asked = [rows(1, 5), rows(20, 4), wide.clone(), rows(40, 4)];
    let queued = asked.clone().map(|input| busy.queue(request(input))).into();
    let version = busy.server.engine.version("m", None).unwrap();
    let (answers, mut batches) = {
        // The first of them is full for the next has no room, and the others fill one.
        let (answers, batches) = busy.finish(queued);
        (outputs(answers), batches)
    };
    assert_eq!(answers, asked);
    batches.sort_unstable();
    assert_eq!(batches, [5, 8, 8]);
    assert_eq!(version.queue_load().0, 0);
}

#[test]
fn an_archives_network_takes_tensors_beside_its_handler() {
    let store = Store::new();
    let config = "{batchSize: 2, maxBatchDelay: 100000, signature: {inputs: [{name: text, datatype: UINT8, shape: [-1, 2]}], outputs: [{name: echo, datatype: UINT8}]}}";
    let archive = store.fake_with("m", "1.0", "gated", config);
    let (server, control) = TestServer::fake(&[&archive]);
    let version = server.engine.version("m", None).unwrap();
    let interface = version.interface().cloned().unwrap();
    let inputs = interface.signature.inputs.unwrap();
    let shape = Some(vec![None, Some(2)]);
    assert_eq!(inputs, [TensorSpec { name: "text".into(), dtype: Some(DType::U8), shape }]);
    assert!(interface.batched && interface.max_rows.is_none() && version.network().is_none());

    let text = |text: &[u8]| Tensor::from_vec(&[text.len() / 2, 2], text.to_vec()).unwrap();
    // More rows than a batch of an archive has run alone.
    let first = ask(&server.engine, "m", request(text(b"aabbcc")));
    control.entered.recv().unwrap();
    let waits = |number: usize| {
        while version.queue_load().0 < number {
            thread::yield_now();
        }
    };
    let url = server.inference("/predictions/m");
    let to_handler = |body: &'static [u8]| -> JoinHandle<Answer> {
        let url = url.clone();
        thread::spawn(move || post(&url, body))
    };
    let one = to_handler(b"dd");
    waits(1);
    let two = ask(&server.engine, "m", request(text(b"ee")));
    waits(2);
    let three = to_handler(b"ff");
    waits(3);
    let four = ask(&server.engine, "m", request(text(b"gg")));
    waits(4);
    control.release_all();
    let of_tensors = [first, two, four].map(|asked| asked.join().unwrap());
    assert_eq!(outputs(of_tensors.into()), [text(b"aabbcc"), text(b"ee"), text(b"gg")]);
    assert_eq!([one, three].map(|asked| asked.join().unwrap().text().to_owned()), ["dd", "ff"]);
    assert_eq!(control.take_batches(), [3, 2, 2], "handlers and tensors share none");
}

#[test]
fn a_request_that_fails_in_the_network_fails_alone() {
    let busy = Busy::new(together());
    let words = |words: &str| {
        let text = format!("{words:20}");
        Tensor::from_vec(&[1, 20], text.into_bytes()).unwrap()
    };
    let six = Tensor::from_vec(&[6, 20], vec![b'x'; 120]).unwrap();
    let inputs = [words("good"), words("fail in forward"), six];
    let asked = inputs.clone().map(|input| busy.queue(request(input))).into();
    let (mut answers, batches) = busy.finish(asked);
    let failed = answers.remove(1).unwrap_err();
    assert_eq!(failed.code(), ErrorCode::PredictionFailed);
    let [good, _, six] = inputs;
    assert_eq!(outputs(answers), [good, six]);
    assert_eq!(batches, [8, 1, 1, 6]);
}

#[test]
fn a_network_that_panics_is_loaded_again_and_neighbours_are_answered() {
    let repository = Repository::new();
    let (server, control) = serving(repository.network("echo"));
    let words = |words: &str, rows: usize| {
        let text = format!("{words:20}").repeat(rows);
        Tensor::from_vec(&[rows, 20], text.into_bytes()).unwrap()
    };
    let good = ask(&server.engine, "m", request(words("good", 7)));
    let bad = ask(&server.engine, "m", request(words("panic in forward", 1)));
    assert_eq!(good.join().unwrap().unwrap().outputs, [words("good", 7)]);
    let error = bad.join().unwrap().unwrap_err();
    assert!(error.message().contains("a tensor of lead"), "{error}");
    assert!(control.loads() >= 2);
}

#[test]
fn an_output_without_the_batchs_rows_is_given_to_each_request_by_itself() {
    let repository = Repository::new();
    let (server, control) = serving(repository.network("sums"));
    let asked = [rows(1, 4), rows(101, 4)].map(|input| ask(&server.engine, "m", request(input)));
    let answers = asked.map(|asked| asked.join().unwrap()).into();
    let sums: Vec<f32> =
        outputs(answers).iter().map(|output| output.as_slice::<f32>().unwrap()[0]).collect();
    // 1 to 8, and 101 to 108.
    assert_eq!(sums, [36.0, 836.0]);
    assert_eq!(control.take_batches(), [8, 4, 4]);
}

#[test]
fn rows_that_do_not_fit_are_refused_by_the_name_of_the_input() {
    let repository = Repository::new();
    let spec = |name: &str| TensorSpec::named(name);
    let inputs = Some(vec![spec("left"), spec("right")]);
    let network =
        Network { signature: Signature { inputs, outputs: None }, ..repository.network("echo") };
    let (server, control) = serving(network);
    let both = |left: Tensor, right: Tensor| TensorRequest {
        inputs: vec![left, right],
        ..TensorRequest::default()
    };
    let empty = Tensor::from_vec(&[0, 2], Vec::<f32>::new()).unwrap();
    let scalar = Tensor::from_vec(&[], vec![1_f32]).unwrap();
    for (request, words) in [
        (both(rows(1, 9), rows(1, 9)), "a batch of 9 rows is above max_batch_size 8"),
        (both(empty.clone(), empty.clone()), "input \"left\" has no rows"),
        (both(rows(1, 1), empty), "input \"right\" has no rows"),
        (both(rows(1, 1), rows(1, 2)), "input \"right\" has 2 rows and the first input 1"),
        (both(rows(1, 1), scalar), "input \"right\" has no batch dimension"),
        (request(rows(1, 8)), "the request has 1 inputs; the model takes 2"),
        (TensorRequest::default(), "the request has no input"),
    ] {
        let (code, message) = refused(&server.engine, request);
        assert_eq!(code, ErrorCode::InvalidInput);
        assert!(message.contains(words), "{message}");
    }
    assert!(control.take_batches().is_empty(), "none of them reached the network");
    let answer = infer(&server.engine, "m", both(rows(1, 8), rows(30, 8))).unwrap();
    assert_eq!(answer.outputs, [rows(1, 8), rows(30, 8)]);
}

#[test]
fn levels_go_before_one_another_and_what_names_none_has_the_default() {
    let scheduling = Scheduling { priority_levels: 3, default_priority: 2, ..alone() };
    let busy = Busy::new(scheduling);
    let asked = [(3, 1), (1, 2), (0, 3), (2, 4), (9, 5), (1, 6)]
        .map(|(priority, rows_of)| {
            busy.queue(TensorRequest { priority, ..request(rows(1, rows_of)) })
        })
        .into();
    let (answers, batches) = busy.finish(asked);
    assert_eq!(outputs(answers).len(), 6);
    assert_eq!(batches, [2, 6, 3, 4, 5, 1]);
}

/// A policy whose time is over before a test has looked twice.
fn at_once() -> QueuePolicy {
    QueuePolicy { timeout: Some(Duration::from_millis(1)), ..QueuePolicy::default() }
}

#[test]
fn a_request_whose_time_is_over_is_refused_and_never_run() {
    let busy = Busy::new(Scheduling {
        priority_levels: 2,
        default_priority: 1,
        policies: [(2, at_once())].into(),
        ..alone()
    });
    let late = TensorRequest { priority: 2, ..request(rows(1, 1)) };
    let (code, message) = refused(&busy.server.engine, late);
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(message.starts_with("request timeout expired"), "{message}");
    let (answers, batches) = busy.finish(Vec::new());
    assert!(answers.is_empty() && batches.is_empty());
}

#[test]
fn a_request_that_is_late_goes_last_where_the_policy_says_so() {
    let busy = Busy::new(Scheduling {
        priority_levels: 1,
        default_priority: 1,
        policy: QueuePolicy { delays: true, allows_override: true, ..QueuePolicy::default() },
        ..alone()
    });
    let hurried = Some(Duration::from_millis(1));
    let first = busy.queue(TensorRequest { timeout: hurried, ..request(rows(1, 1)) });
    let begun = Instant::now();
    let second = busy.queue(request(rows(1, 2)));
    while begun.elapsed() < Duration::from_millis(1) {
        thread::yield_now();
    }
    let (answers, batches) = busy.finish(vec![first, second]);
    assert_eq!(outputs(answers), [rows(1, 1), rows(1, 2)]);
    assert_eq!(batches, [2, 1]);
}

#[test]
fn a_clients_own_time_out_counts_where_the_policy_lets_it_and_for_archives() {
    let hurried =
        || TensorRequest { timeout: Some(Duration::from_millis(1)), ..request(rows(1, 1)) };
    let busy = Busy::new(alone());
    let asked = vec![busy.queue(hurried())];
    let (answers, _) = busy.finish(asked);
    assert_eq!(outputs(answers), [rows(1, 1)], "it waited all the same");

    let lets = QueuePolicy { allows_override: true, ..QueuePolicy::default() };
    let busy = Busy::new(Scheduling { policy: lets, ..alone() });
    assert_eq!(refused(&busy.server.engine, hurried()).0, ErrorCode::Overloaded);
    busy.finish(Vec::new());

    let store = Store::new();
    let (server, control) = TestServer::fake(&[&store.fake("m", "1.0", "gated")]);
    let first = ask(&server.engine, "m", request(rows(1, 1)));
    control.entered.recv().unwrap();
    let (code, message) = refused(&server.engine, hurried());
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(message.contains("within 0.001 s"), "{message}");
    control.release_all();
    first.join().unwrap().unwrap();
}

#[test]
fn a_level_takes_no_more_than_it_may() {
    let one = QueuePolicy { max_size: Some(1), ..QueuePolicy::default() };
    let busy = Busy::new(Scheduling {
        priority_levels: 2,
        default_priority: 2,
        policies: [(1, one)].into(),
        ..alone()
    });
    let of_level = |priority| TensorRequest { priority, ..request(rows(1, 1)) };
    let mut asked = vec![busy.queue(of_level(1))];
    let (code, message) = refused(&busy.server.engine, of_level(1));
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(message.contains("exceeds maximum queue size 1"), "{message}");
    asked.push(busy.queue(of_level(2)));
    asked.push(busy.queue(of_level(2)));
    assert_eq!(outputs(busy.finish(asked).0).len(), 3);
}

#[test]
fn a_queue_that_a_network_bounds_holds_what_it_says_and_another_what_the_server_says() {
    let repository = Repository::new();
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 1;
    let (server, control) = TestServer::fake_with(settings, &[]);
    let of_size = |max_size| {
        let policy = QueuePolicy { max_size, ..QueuePolicy::default() };
        Network { scheduling: Scheduling { policy, ..alone() }, ..repository.network("gated") }
    };
    for (name, max_size, holds) in [("bounded", Some(3), 3), ("plain", None, 1)] {
        let version = load(&server.engine, name, of_size(max_size));
        let mut asked = vec![ask(&server.engine, name, request(rows(1, 1)))];
        control.entered.recv().unwrap();
        for number in 1..=holds {
            asked.push(ask(&server.engine, name, request(rows(1, 1))));
            while version.queue_load().0 < number {
                thread::yield_now();
            }
        }
        let error = infer(&server.engine, name, request(rows(1, 1))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Overloaded, "{name}");
        for _ in 0..=holds {
            control.release_one();
        }
        for asked in asked {
            asked.join().unwrap().unwrap();
        }
        // The other passes of this model told of themselves too.
        while control.entered.try_recv().is_ok() {}
    }
}

#[test]
fn a_batch_of_a_preferred_size_goes_at_once() {
    let repository = Repository::new();
    let scheduling = Scheduling { preferred_batch_sizes: vec![4], ..together() };
    let network = Network { scheduling, ..repository.network("echo") };
    let (server, control) = serving(network);
    let asked = [rows(1, 3), rows(9, 1)].map(|input| ask(&server.engine, "m", request(input)));
    for asked in asked {
        asked.join().unwrap().unwrap();
    }
    assert_eq!(control.take_batches(), [4]);
}

#[test]
fn without_dynamic_batches_each_request_goes_alone_and_at_once() {
    let busy = Busy::new(alone());
    let asked = [rows(1, 2), rows(9, 3)].map(|input| busy.queue(request(input))).into();
    let (answers, batches) = busy.finish(asked);
    assert_eq!(outputs(answers), [rows(1, 2), rows(9, 3)]);
    assert_eq!(batches, [2, 3]);
}

#[test]
fn a_request_whose_client_has_gone_is_not_run() {
    let busy = Busy::new(alone());
    let version = busy.server.engine.version("m", None).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let engine = Arc::clone(&busy.server.engine);
    let gone = runtime.spawn(async move {
        let admission = engine.admit().unwrap();
        engine.infer(&admission, "m", None, request(rows(1, 3))).await.map(drop)
    });
    while version.queue_load().0 == 0 {
        thread::yield_now();
    }
    gone.abort();
    assert!(runtime.block_on(gone).unwrap_err().is_cancelled());
    let asked = vec![busy.queue(request(rows(1, 2)))];
    let (answers, batches) = busy.finish(asked);
    assert_eq!(outputs(answers), [rows(1, 2)]);
    assert_eq!(batches, [2]);
}

#[test]
fn a_network_without_batches_is_given_tensors_as_they_are() {
    let repository = Repository::new();
    let network = Network { max_batch_size: 0, ..repository.network("echo") };
    let (server, control) = serving(network);
    for input in [
        Tensor::from_vec(&[], vec![7_f32]).unwrap(),
        Tensor::from_vec(&[0, 2], Vec::<f32>::new()).unwrap(),
        Tensor::from_strings(&[2, 1], ["a", "bc"]).unwrap(),
    ] {
        let answer = infer(&server.engine, "m", request(input.clone())).unwrap();
        assert_eq!(answer.outputs, [input]);
    }
    assert_eq!(control.take_batches(), [1, 0, 2]);
    let interface = server.engine.version("m", None).unwrap().interface().cloned().unwrap();
    assert!(!interface.batched && interface.max_rows.is_none());
}

/// A server of the real handlers.
fn with_handlers() -> (TestServer, Control) {
    let (runtime, control) = fake::runtime();
    (TestServer::start(settings(), mar_handlers::all(), runtime), control)
}

fn two_numbers(first: Option<usize>) -> Signature {
    let shape = first.map(Some).into_iter().chain([Some(2)]).collect();
    let input = TensorSpec { name: "x".into(), dtype: Some(DType::F32), shape: Some(shape) };
    Signature { inputs: Some(vec![input]), outputs: Some(vec![TensorSpec::named("y")]) }
}

#[test]
fn a_declared_network_has_the_handler_of_tensors_and_another_has_none() {
    let repository = Repository::new();
    let (server, control) = with_handlers();
    let scheduling = alone();
    let batched = Network {
        signature: two_numbers(Some(1)),
        scheduling: scheduling.clone(),
        ..repository.network("times 2")
    };
    load(&server.engine, "batched", batched);
    let plain = Network {
        signature: two_numbers(None),
        max_batch_size: 0,
        ..repository.network("times 3")
    };
    load(&server.engine, "plain", plain);
    let reshaped = Network {
        reshaped: [("x".to_owned(), vec![Some(1), Some(2)])].into(),
        signature: two_numbers(Some(1)),
        scheduling,
        ..repository.network("times 4")
    };
    load(&server.engine, "reshaped", reshaped);
    for (name, body, expected) in [
        ("batched", "[1, 2]", json!([2.0, 4.0])),
        ("plain", "[1, 2]", json!([3.0, 6.0])),
        ("reshaped", "[[1, 2]]", json!([[4.0, 8.0]])),
    ] {
        let answer = post(&server.inference(&format!("/predictions/{name}")), body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json(), expected, "{name}");
    }
    assert_eq!(control.take_batches(), [1, 2, 1]);

    let open = Network { signature: Signature::default(), ..repository.network("echo") };
    load(&server.engine, "open", open);
    let answer = post(&server.inference("/predictions/open"), b"[1, 2]");
    assert!(answer.status >= 400, "{}", answer.text());
    assert!(answer.text().contains("takes tensors alone"), "{}", answer.text());
    infer(&server.engine, "open", request(rows(1, 8))).unwrap();
}

fn warmup(name: &str, inputs: Vec<Tensor>, count: usize) -> Warmup {
    Warmup { name: name.into(), inputs, count }
}

#[test]
fn every_worker_is_warmed_up_before_it_is_ready() {
    let repository = Repository::new();
    let network = Network {
        warmup: vec![warmup("small", vec![rows(1, 1)], 2), warmup("large", vec![rows(1, 8)], 1)],
        instances: vec![Instances { count: 2, devices: vec![Device::Cpu] }],
        ..repository.network("shared")
    };
    let (server, control) = serving(network);
    let mut batches = control.take_batches();
    batches.sort_unstable();
    assert_eq!(batches, [1, 1, 1, 1, 8, 8]);
    assert_eq!(
        (control.loads(), server.engine.version("m", None).unwrap().workers().len()),
        (1, 2)
    );
}

#[test]
fn a_warm_up_that_fails_fails_the_load_and_is_named() {
    let repository = Repository::new();
    let (server, _control) = TestServer::fake(&[]);
    let text = format!("{:20}", "fail in forward").into_bytes();
    let bad = Tensor::from_vec(&[1, 20], text).unwrap();
    for (inputs, words) in [
        (vec![bad], "warm-up \"images\" failed: the model failed: as asked"),
        (vec![rows(1, 9)], "warm-up \"images\": a batch of 9 rows is above max_batch_size 8"),
        (vec![], "warm-up \"images\": the request has no input"),
    ] {
        let network = Network {
            warmup: vec![warmup("fine", vec![rows(1, 1)], 1), warmup("images", inputs, 1)],
            ..repository.network("echo")
        };
        let request = of("m", network);
        let registered = server.engine.register(&LoadRequest { at_startup: true, ..request });
        let error = registered.and_then(|it| server.engine.finish(it)).unwrap_err();
        assert!(error.message().contains(words), "{error}");
        assert!(server.engine.version("m", None).is_err(), "nothing is registered");
    }
}

#[test]
fn workers_are_as_many_a_device_as_the_network_wants() {
    let repository = Repository::new();
    let (runtime, control) = fake::runtime_with(2);
    let server = TestServer::start(settings(), fake::handlers(), runtime);
    let group = |count, devices: &[Device]| Instances { count, devices: devices.to_vec() };
    let gpus = [Device::Cuda(0), Device::Cuda(1)];
    let wanted = |instances| Network { instances, ..repository.network("echo") };
    load(&server.engine, "m", wanted(vec![group(1, &[Device::Cpu]), group(2, &gpus)]));
    let mut devices: Vec<String> = control.devices().iter().map(Device::to_string).collect();
    devices.sort();
    assert_eq!(devices, ["cpu", "cuda:0", "cuda:0", "cuda:1", "cuda:1"]);
    let version = load(&server.engine, "everywhere", wanted(Vec::new()));
    assert_eq!(version.workers().len(), 2, "one a device");
    let beyond = load(&server.engine, "beyond", wanted(vec![group(1, &[Device::Cuda(2)])]));
    let reason = beyond.state().reason().unwrap().to_owned();
    assert!(reason.contains("names cuda:2, and fake finds 2"), "{reason}");
    let none = load(&server.engine, "none", wanted(vec![group(0, &[Device::Cpu])]));
    assert!(none.state().reason().unwrap().contains("0 instances"));
}

#[test]
fn a_network_that_contradicts_itself_says_how() {
    let repository = Repository::new();
    let (server, _control) = TestServer::fake(&[]);
    let with = |scheduling| Network { scheduling, ..repository.network("echo") };
    let levels = |priority_levels, default_priority| Scheduling {
        priority_levels,
        default_priority,
        ..together()
    };
    let strange = Network { file: "weights.strange".into(), ..repository.network("echo") };
    for (name, network, words) in [
        ("a", with(levels(2, 0)), "default_priority_level is 0; give one of the 2 levels"),
        ("b", with(levels(2, 3)), "default_priority_level is 3"),
        (
            "c",
            with(Scheduling { policies: [(3, at_once())].into(), ..levels(2, 1) }),
            "priority_queue_policy names level 3, and there are 2",
        ),
        (
            "d",
            with(Scheduling { preferred_batch_sizes: vec![4, 9], ..together() }),
            "preferred_batch_size 9 is not from 1 to max_batch_size 8",
        ),
        ("e", strange, "no runtime here opens weights.strange"),
    ] {
        let version = load(&server.engine, name, network);
        let reason = version.state().reason().unwrap().to_owned();
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn versions_of_a_network_come_and_go_beside_each_other_and_leave_their_files() {
    let repository = Repository::new();
    let (server, _control) = TestServer::fake(&[]);
    let version = |version: &str, behaviour: &str| Network {
        version: version.into(),
        max_batch_size: 0,
        ..repository.network(behaviour)
    };
    load(&server.engine, "m", version("1", "times 2"));
    load(&server.engine, "m", version("3", "times 3"));
    server.engine.set_default("m", "3").unwrap();
    let one = || Tensor::from_vec(&[1], vec![1_f32]).unwrap();
    let answered = || {
        let answer = infer(&server.engine, "m", request(one())).unwrap();
        answer.outputs[0].as_slice::<f32>().unwrap()[0]
    };
    assert!((answered() - 3.0).abs() < f32::EPSILON);
    let found = server.engine.version("m", None).unwrap();
    assert_eq!(found.network().unwrap().version, "3");
    assert_eq!(server.engine.model("m").unwrap().versions.len(), 2);

    server.engine.set_default("m", "1").unwrap();
    let gone = server.engine.take_out("m", Some("3")).unwrap();
    server.engine.unload(&gone).unwrap();
    assert!((answered() - 2.0).abs() < f32::EPSILON);
    assert!(gone.network().unwrap().file.exists(), "what was not unpacked is not removed");
    assert!(repository.path().exists());
}

#[test]
fn what_a_network_asks_of_its_runtime_reaches_it() {
    let repository = Repository::new();
    let parameters = Map::from_iter([("INTRA_OP_THREAD_COUNT".to_owned(), json!("2"))]);
    let network = Network { parameters: parameters.clone(), ..repository.network("echo") };
    let (_server, control) = serving(network);
    assert_eq!(control.options(), parameters);
}
