//! Everything at once, in random order: whatever happens to a version, it ends, and each of its requests is
//! answered.

use std::mem::take;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::bench::{Bench, Call, Do, until};
use super::*;
use crate::job::Pending;

#[derive(Clone, Copy, Debug)]
enum Step {
    Scale(usize),
    Push,
    /// The oldest load or forward pass under way ends like this, if there is one.
    Load(Do),
    Pass(Do),
    /// Whoever is under way is overdue.
    GiveUp,
    /// The client of this index goes.
    Leave(usize),
    /// The workers get on with what they do.
    Wait,
}

fn how() -> impl Strategy<Value = Do> {
    prop_oneof![4 => Just(Do::Well), 1 => Just(Do::Fail), 1 => Just(Do::Panic)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4_usize).prop_map(Step::Scale),
        6 => Just(Step::Push),
        4 => how().prop_map(Step::Load),
        4 => how().prop_map(Step::Pass),
        1 => Just(Step::GiveUp),
        1 => (0..9_usize).prop_map(Step::Leave),
        4 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

struct Chaos {
    bench: Bench,
    loads: Vec<Call>,
    passes: Vec<Call>,
    asked: Vec<Pending>,
}

impl Chaos {
    fn listen(&mut self) {
        self.loads.extend(self.bench.loads.try_iter());
        self.passes.extend(self.bench.passes.try_iter());
    }

    fn take(&mut self, step: Step) {
        self.listen();
        match step {
            Step::Scale(workers) => drop(self.bench.scale(workers)),
            Step::Push => self.asked.extend(self.bench.try_push()),
            Step::Load(how) if !self.loads.is_empty() => self.loads.remove(0).end(how),
            Step::Pass(how) if !self.passes.is_empty() => self.passes.remove(0).end(how),
            Step::GiveUp => self.bench.give_up_all(),
            Step::Leave(index) if index < self.asked.len() => drop(self.asked.remove(index)),
            Step::Wait => (0..20).for_each(|_| std::thread::yield_now()),
            Step::Load(_) | Step::Pass(_) | Step::Leave(_) => {}
        }
    }

    fn finish(mut self) {
        self.bench.version.close();
        until(|| {
            self.listen();
            for call in take(&mut self.loads).into_iter().chain(take(&mut self.passes)) {
                call.end(Do::Well);
            }
            self.asked
                .retain_mut(|asked| matches!(asked.reply.try_recv(), Err(TryRecvError::Empty)));
            let crew = self.bench.version.crew.lock();
            self.asked.is_empty() && crew.has_ended() && crew.given_up == 0
        });
        assert_eq!(self.bench.version.state(), VersionState::Unloaded);
        assert_eq!(self.bench.version.workshop.workers_on(Device::Cpu), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_version_ends_and_answers_whatever_happens(
        steps in steps(),
        shareable in any::<bool>(),
        batch in 1..3_usize,
        retried in any::<bool>(),
    ) {
        let config = serde_json::json!({
            "batchSize": batch,
            "maxBatchDelay": 1,
            "maxRetryTimeoutInSec": if retried { 300 } else { 0 },
        });
        let bench = Bench::with("m", &config, shareable);
        drop(bench.scale(1));
        let mut chaos =
            Chaos { bench, loads: Vec::new(), passes: Vec::new(), asked: Vec::new() };
        for step in steps {
            chaos.take(step);
        }
        chaos.finish();
    }
}
