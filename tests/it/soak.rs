use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::http::{Answer, agent, answer, delete, get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

const CLIENTS: usize = 64;
const TIME: Duration = Duration::from_secs(30);

/// What clients were answered: how often each status.
type Tally = BTreeMap<(&'static str, u16), usize>;

/// Models come, switch, grow and go the whole time; `m` always has a default version, `n` always a worker, and
/// `t` is there or is not.
#[test]
fn nothing_is_lost_or_mixed_up_while_models_come_and_go() {
    let store = Store::new();
    for version in ["1", "2", "3"] {
        let config = format!("batchSize: 8\nmaxBatchDelay: 2\nhandler: {{prefix: m{version}-}}\n");
        store.fake_with("m", version, "shared", &config);
    }
    store.fake_with("n", "1", "echo", "batchSize: 4\nmaxBatchDelay: 1\nhandler: {prefix: n1-}\n");
    store.fake_with("t", "1", "ballast 8", "minWorkers: 2\nhandler: {prefix: t1-}\n");
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 10 * CLIENTS;
    let (server, _control) = TestServer::managed_with(settings, &store);
    let call = |answer: Answer| assert_eq!(answer.status, 200, "{}", answer.text());
    let register = |name: &str| {
        let path = format!("/models?url={name}&initial_workers=2");
        call(post(&server.management(&path), b""));
    };
    register("m-1");
    register("n-1");

    let stop = AtomicBool::new(false);
    let changes = AtomicUsize::new(0);
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, stop) = (&server, &stop);
                scope.spawn(move || ask(server, client, stop))
            })
            .collect();
        let until = Instant::now() + TIME;
        let mut current = 1;
        while Instant::now() < until {
            let next = current % 3 + 1;
            register(&format!("m-{next}"));
            call(put(&server.management(&format!("/models/m/{next}/set-default"))));
            register("t-1");
            call(put(&server.management("/models/n?min_worker=4&synchronous=true")));
            call(delete(&server.management(&format!("/models/m/{current}"))));
            call(put(&server.management("/models/n?min_worker=1&max_worker=1&synchronous=true")));
            call(delete(&server.management("/models/t")));
            current = next;
            changes.fetch_add(7, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });

    let mut total = Tally::new();
    for tally in tallies {
        for (what, count) in tally {
            *total.entry(what).or_default() += count;
        }
    }
    let changes = changes.into_inner();
    println!("{changes} changes while clients were answered {total:?}");
    assert!(changes > 50, "the models hardly changed");
    for (model, status) in total.keys() {
        let expected = *status == 200 || *model == "t" && *status == 404;
        assert!(expected, "{model} answered {status}: {total:?}");
    }
    for model in ["m", "n", "t"] {
        assert!(total.get(&(model, 200)).is_some_and(|count| *count > 100), "{total:?}");
    }
    assert_eq!(server.engine.in_flight(), 0);
    let left: Vec<String> = server.engine.models().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["m", "n"]);
    assert_eq!(get(&server.management("/models/m/all")).json().as_array().unwrap().len(), 1);
}

/// One client: asks one model after the other, each with bodies of its own.
fn ask(server: &TestServer, client: usize, stop: &AtomicBool) -> Tally {
    let agent = agent();
    let mut tally = Tally::new();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        for model in ["m", "n", "t"] {
            // Two shapes, so that batches are parted by them.
            let width = 8 + round % 2;
            let body = format!("{client:04}{round:0width$}");
            let url = server.inference(&format!("/predictions/{model}"));
            let answer = answer(agent.post(&url).send(&body));
            if answer.status == 200 {
                let text = answer.text();
                assert!(text.starts_with(model), "{model} answered by another: {text}");
                assert_eq!(&text[3..], body, "another client's answer");
            }
            *tally.entry((model, answer.status)).or_default() += 1;
            round += 1;
        }
    }
    tally
}
