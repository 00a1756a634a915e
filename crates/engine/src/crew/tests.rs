//! Workers that hang, fail and go while others come, step by step.

use std::sync::atomic::Ordering;

use super::bench::{Bench, Do, LONG, answer, config, until};
use super::*;

#[test]
fn one_that_fails_to_load_while_another_still_loads_fails_no_request() {
    let bench = Bench::new(&config("{}"));
    let _scaling = bench.scale(2);
    let waiting = bench.push();
    bench.load().end(Do::Fail);
    // Why it failed stays until it has loaded; that it backs off lasts a millisecond.
    until(|| bench.version.workers().iter().any(|worker| worker.reason.is_some()));
    assert_eq!(bench.version.state(), VersionState::Loading);
    // One of the two loads is the second worker's first.
    bench.load().end(Do::Well);
    bench.pass().end(Do::Well);
    answer(waiting).unwrap();
    assert_eq!(bench.version.state(), VersionState::Ready);
}

#[test]
fn when_all_have_failed_to_load_the_version_has() {
    let bench = Bench::new(&config(r#"{"maxRetryTimeoutInSec": 0}"#));
    let _scaling = bench.scale(2);
    let waiting = bench.push();
    bench.load().end(Do::Fail);
    bench.load().end(Do::Fail);
    until(|| bench.states() == [WorkerState::Failed; 2]);
    answer(waiting).unwrap_err();
    assert_eq!(bench.version.state(), VersionState::Failed("as asked".into()));
}

#[test]
fn a_worker_that_goes_and_hangs_is_nothing_to_those_that_came_after_it() {
    let bench =
        Bench::serving(&config(r#"{"responseTimeout": 1, "startupTimeout": 9000}"#), false, 1);
    let _hung = bench.push();
    let pass = bench.pass();
    drop(bench.scale(0));
    drop(bench.scale(1));
    let load = bench.load();
    let waiting = bench.push();
    bench.version.give_up_overdue(Instant::now() + Duration::from_mins(1));
    load.end(Do::Well);
    bench.pass().end(Do::Well);
    answer(waiting).unwrap();
    pass.end(Do::Well);
}

#[test]
fn a_worker_that_goes_and_does_not_load_is_not_waited_for() {
    let bench = Bench::new(&config(r#"{"maxRetryTimeoutInSec": 0}"#));
    drop(bench.scale(1));
    let load = bench.load();
    drop(bench.scale(0));
    load.end(Do::Fail);
    bench.version.close();
    assert!(bench.version.ended_within(LONG), "{:?}", bench.version);
}

#[test]
fn a_load_that_hangs_holds_up_no_other() {
    let bench = Bench::new(&config("{}"));
    drop(bench.scale(2));
    let hung = bench.load();
    let due = |seat: &Arc<Seat>| seat.deadline().is_some();
    assert_eq!(
        bench.version.crew.lock().seats.iter().filter(|s| due(s)).count(),
        1,
        "who waits is not late"
    );
    bench.give_up_all();
    bench.load().end(Do::Well);
    until(|| bench.states().contains(&WorkerState::Ready));
    // It comes back with weights that nobody wants any more.
    hung.end(Do::Well);
    bench.load().end(Do::Well);
    until(|| bench.states() == [WorkerState::Ready; 2]);
    until(|| bench.version.crew.lock().given_up == 0);
}

#[test]
fn a_load_that_hangs_is_tried_again_no_longer_than_one_that_fails() {
    let bench = Bench::new(&config(r#"{"maxRetryTimeoutInSec": 0}"#));
    let scaling = bench.scale(1);
    let _hung = bench.load();
    bench.give_up_all();
    assert_eq!(bench.states(), [WorkerState::Failed]);
    assert!(bench.loads.try_recv().is_err());
    let error = scaling.wait().unwrap_err();
    assert!(error.message().contains("did not load its model within"), "{error}");
}

#[test]
fn weights_that_a_thread_hangs_in_are_not_handed_to_the_next() {
    let bench = Bench::serving(&config("{}"), true, 1);
    let _hung = bench.push();
    let pass = bench.pass();
    let waiting = bench.push();
    bench.give_up_all();
    bench.load().end(Do::Well);
    bench.pass().end(Do::Well);
    answer(waiting).unwrap();
    pass.end(Do::Well);
}

#[test]
fn jobs_of_a_batch_that_panics_in_the_last_worker_of_a_closed_version_are_answered() {
    let config = config(r#"{"batchSize": 2, "maxBatchDelay": 100000}"#);
    let bench = Bench::serving(&config, false, 2);
    let asked: Vec<_> = (0..4).map(|_| bench.push()).collect();
    let passes = [bench.pass(), bench.pass()];
    assert!(passes.iter().all(|pass| pass.len == 2));
    // The newest goes.
    drop(bench.scale(1));
    bench.version.close();
    let (goes, stays) = if passes[0].thread.ends_with("-1") { (0, 1) } else { (1, 0) };
    passes[stays].end(Do::Well);
    until(|| bench.states().is_empty());
    passes[goes].end(Do::Panic);
    let failed = asked.into_iter().map(answer).filter(Result::is_err);
    assert_eq!(failed.count(), 2);
    assert!(bench.version.ended_within(LONG));
}

#[test]
fn a_closed_version_is_unloaded_once_its_last_worker_ends_whoever_waits() {
    let bench = Bench::serving(&config("{}"), false, 1);
    let asked = bench.push();
    let pass = bench.pass();
    bench.version.close();
    assert!(!bench.version.ended_within(Duration::ZERO));
    assert_eq!(bench.version.state(), VersionState::Draining);
    pass.end(Do::Well);
    answer(asked).unwrap();
    until(|| bench.version.state() == VersionState::Unloaded);
}

#[test]
fn a_version_that_failed_goes_as_others_do() {
    let bench = Bench::new(&config("{}"));
    drop(bench.scale(1));
    bench.load().end(Do::Fail);
    until(|| matches!(bench.version.state(), VersionState::Failed(_)));
    let load = bench.load();
    bench.version.close();
    assert_eq!(bench.version.state(), VersionState::Draining);
    assert!(bench.version.scale(1, 1, None).is_err());
    load.end(Do::Well);
    assert!(bench.version.ended_within(LONG));
    assert_eq!(bench.version.state(), VersionState::Unloaded);
}

#[test]
fn limits_that_were_set_meanwhile_stay() {
    let bench = Bench::new(&config("{}"));
    let first = bench.scale(1);
    let load = bench.load();
    drop(bench.version.scale(1, 5, None).unwrap());
    load.end(Do::Fail);
    first.wait().unwrap_err();
    assert_eq!(bench.version.worker_limits(), (1, 5));
}

#[test]
fn a_name_that_no_thread_can_have_is_no_obstacle() {
    let bench = Bench::with("m\0", &config("{}"), false);
    let scaling = bench.scale(1);
    bench.load().end(Do::Well);
    scaling.wait().unwrap();
}

#[test]
fn clients_that_went_away_cost_no_pass_when_their_batch_is_tried_one_by_one() {
    let config = config(r#"{"batchSize": 3, "maxBatchDelay": 100000}"#);
    let bench = Bench::serving(&config, false, 1);
    let mut asked: Vec<_> = (0..3).map(|_| bench.push()).collect();
    let batch = bench.pass();
    drop(asked.remove(1));
    batch.end(Do::Fail);
    for pending in asked {
        let alone = bench.pass();
        assert_eq!(alone.len, 1);
        alone.end(Do::Well);
        answer(pending).unwrap();
    }
    assert!(bench.passes.recv_timeout(Duration::from_millis(20)).is_err());
}

#[test]
fn a_model_that_panics_outside_its_forward_pass_is_loaded_again() {
    let bench = Bench::serving(&config("{}"), true, 1);
    bench.fragile.store(true, Ordering::Relaxed);
    let asked = bench.push();
    bench.load().end(Do::Well);
    drop(asked);
    let next = bench.push();
    bench.pass().end(Do::Well);
    answer(next).unwrap();
}
