use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mar_engine::{Part, Request};

use crate::support::fake::Control;
use crate::support::http::{Answer, post};
use crate::support::server::TestServer;
use crate::support::store::Store;

/// A server of one worker whose first batch is under way, so that what comes now waits; and a delay that no
/// test outlives, so that only full batches go.
struct Busy {
    server: TestServer,
    control: Control,
    first: Vec<JoinHandle<Answer>>,
    _store: Store,
}

impl Busy {
    fn new(batch: usize) -> Self {
        let store = Store::new();
        let config = format!("{{batchSize: {batch}, maxBatchDelay: 100000}}");
        let archive = store.fake_with("m", "1.0", "gated", &config);
        let (server, control) = TestServer::fake(&[&archive]);
        let first = (0..batch).map(|_| ask(&server, b"first")).collect();
        control.entered.recv().unwrap();
        Self { server, control, first, _store: store }
    }

    /// Sends a request and returns once it has its place behind the others.
    fn queue(&self, body: &'static [u8]) -> JoinHandle<Answer> {
        let version = self.server.engine.version("m", None).unwrap();
        let before = version.queue_load().0;
        let asked = ask(&self.server, body);
        while version.queue_load().0 == before {
            thread::yield_now();
        }
        asked
    }

    /// Lets everything through; what each was answered, and the sizes of the batches after the first.
    fn finish(self, asked: Vec<JoinHandle<Answer>>) -> (Vec<Answer>, Vec<usize>) {
        self.control.release_all();
        for first in self.first {
            assert_eq!(first.join().unwrap().text(), "first");
        }
        let answers = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        (answers, self.control.take_batches().split_off(1))
    }
}

fn ask(server: &TestServer, body: &'static [u8]) -> JoinHandle<Answer> {
    let url = server.inference("/predictions/m");
    thread::spawn(move || post(&url, body))
}

fn texts(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(Answer::text).collect()
}

#[test]
fn what_waits_is_one_batch_and_each_gets_its_own_answer() {
    let busy = Busy::new(4);
    let bodies = [b"aa", b"bb", b"cc", b"dd", b"ee", b"ff", b"gg", b"hh"];
    let asked = bodies.map(|body| busy.queue(body)).into();
    let (answers, batches) = busy.finish(asked);
    assert_eq!(texts(&answers), ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh"]);
    assert_eq!(batches, [4, 4]);
}

#[test]
fn shapes_that_differ_are_batches_of_their_own() {
    let busy = Busy::new(2);
    let asked =
        vec![busy.queue(b"aa"), busy.queue(b"wide 1"), busy.queue(b"bb"), busy.queue(b"wide 2")];
    let (answers, batches) = busy.finish(asked);
    assert_eq!(texts(&answers), ["aa", "wide 1", "bb", "wide 2"]);
    assert_eq!(batches, [2, 2]);
}

#[test]
fn one_that_fails_in_a_batch_fails_alone() {
    for (body, code, words) in [
        (&b"fail in forward"[..], 503, "the model failed: as asked"),
        (b"panic in forward", 503, "panicked in inference"),
        (b"run out of memory", 507, "out of memory"),
        (b"panic in postprocess", 503, "panicked in postprocess"),
    ] {
        let same_shape = |text: &str| -> &'static [u8] {
            format!("{text:width$}", width = body.len()).into_bytes().leak()
        };
        let busy = Busy::new(3);
        let asked =
            vec![busy.queue(same_shape("a")), busy.queue(body), busy.queue(same_shape("b"))];
        let (answers, batches) = busy.finish(asked);
        assert_eq!(batches[0], 3, "they were a batch");
        assert_eq!((answers[0].text().trim(), answers[2].text().trim()), ("a", "b"));
        let (status, _, message) = answers[1].error();
        assert_eq!(status, code);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_batch_that_does_not_fill_is_run_after_the_delay_and_not_before() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "{batchSize: 8, maxBatchDelay: 150}");
    let (server, control) = TestServer::fake(&[&archive]);
    let start = Instant::now();
    let answer = post(&server.inference("/predictions/m"), b"alone");
    assert_eq!(answer.text(), "alone");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(150), "{took:?}");
    assert_eq!(control.take_batches(), [1]);
}

#[test]
fn a_batch_that_fills_waits_for_nothing() {
    let store = Store::new();
    // Were the delay waited for, the test would run into the client's time-out.
    let archive = store.fake_with("m", "1.0", "echo", "{batchSize: 3, maxBatchDelay: 100000}");
    let (server, control) = TestServer::fake(&[&archive]);
    let asked = [b"a", b"b", b"c"].map(|body| ask(&server, body));
    for asked in asked {
        assert_eq!(asked.join().unwrap().status, 200);
    }
    assert_eq!(control.take_batches(), [3]);
}

#[test]
fn a_client_that_went_away_has_no_part_in_a_batch() {
    let busy = Busy::new(2);
    let stays = busy.queue(b"here");
    let mut gone = std::net::TcpStream::connect(busy.server.inference_address()).unwrap();
    std::io::Write::write_all(
        &mut gone,
        b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\ngone",
    )
    .unwrap();
    while busy.server.engine.in_flight() < 4 {
        thread::yield_now();
    }
    drop(gone);
    while busy.server.engine.in_flight() > 3 {
        thread::yield_now();
    }
    let also = ask(&busy.server, b"also");
    let (answers, batches) = busy.finish(vec![stays, also]);
    assert_eq!(texts(&answers), ["here", "also"]);
    assert_eq!(batches, [2]);
}

#[test]
fn under_four_times_the_load_batches_are_nearly_full() {
    const BATCH: usize = 8;
    let store = Store::new();
    let config = format!("{{batchSize: {BATCH}, maxBatchDelay: 100}}");
    let archive = store.fake_with("m", "1.0", "echo", &config);
    let (server, control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    thread::scope(|scope| {
        for client in 0..4 * BATCH {
            let url = &url;
            scope.spawn(move || {
                let agent = crate::support::http::agent();
                for i in 0..25 {
                    let body = format!("{client:04}-{i:04}");
                    let answer = crate::support::http::answer(agent.post(url).send(&body));
                    assert_eq!(answer.text(), body);
                }
            });
        }
    });
    let batches = control.take_batches();
    let requests: usize = batches.iter().sum();
    assert_eq!(requests, 4 * BATCH * 25);
    assert!(batches.iter().all(|size| *size <= BATCH));
    // Over 0.8 of a full batch in the mean, in whole numbers.
    println!("{requests} requests in {} batches of at most {BATCH}", batches.len());
    assert!(10 * requests > 8 * BATCH * batches.len(), "{} batches", batches.len());
}

#[test]
fn what_is_decoded_on_another_thread_goes_on_to_a_worker_from_there() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "gated", "{}");
    let (server, control) = TestServer::fake(&[&archive]);
    let admission = server.engine.admit().unwrap();
    let request =
        Request { parts: vec![Part::field("body".into(), "x".into())], ..Request::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut answer = Box::pin(server.engine.predict(&admission, "m", None, request));
    let begun = runtime.block_on(async { (&mut answer).now_or_never() });
    assert!(begun.is_none());
    // Nobody looks at the request meanwhile, as where the thread that took it is busy with another.
    control.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    control.release_all();
    assert_eq!(runtime.block_on(answer).unwrap().response.body, "x");
}

#[test]
fn an_answer_that_is_brief_to_write_is_written_where_the_request_is_and_others_on_the_pool() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "{}");
    let (server, _control) = TestServer::fake(&[&archive]);
    let thread = |body: &[u8]| post(&server.inference("/predictions/m"), body).text().to_owned();
    assert!(thread(b"name the thread").starts_with("cpu-"));
    assert!(!thread(b"name the thread at once").starts_with("cpu-"));
}
