//! A request's way through its version: a place in the queue, preprocess, a worker, postprocess; and what it comes to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mar_handler::{Error, ErrorCode, Request, Result, Tensor};
use tokio::time::timeout_at;

use super::{Loaded, ModelVersion, VersionState};
use crate::engine::Answered;
use crate::events::{Outcome, Timing};
use crate::infer::{TensorAnswer, TensorRequest};
use crate::job::{Done, Job, Lane, Pending, Work};
use crate::pool::CpuPool;
use crate::queue::{Place, Refused, Slot};
use crate::wait::Wait;

/// Counts one request in its version's events, from its arrival to its end.
#[derive(Debug)]
struct Counted<'a> {
    version: &'a ModelVersion,
    named: bool,
    arrived: Instant,
    timing: Timing,
    outcome: Outcome,
}

impl ModelVersion {
    /// A place for one request; `None` where the version is going away, so that another may have taken
    /// over.
    pub(crate) fn reserve(&self) -> Option<Result<Slot>> {
        match self.queue.reserve() {
            Ok(slot) => Some(Ok(slot)),
            Err(Refused::Closed) => None,
            Err(refused) => Some(Err(self.refusal(refused))),
        }
    }

    /// A request that got no place.
    pub(crate) fn refused(&self, named: bool, error: &Error) {
        Counted::begin(self, named).outcome = Outcome::Refused(error.code());
    }

    /// One request that has its place: preprocess, a worker, postprocess.
    pub(crate) async fn predict(
        &self,
        slot: Slot,
        pool: &CpuPool,
        request: Request,
        named: bool,
    ) -> Result<Answered> {
        let mut counted = Counted::begin(self, named);
        let answered = self.run(slot, pool, request, &mut counted).await;
        let timing = counted.end(answered.as_ref().err());
        answered.map(|response| Answered { response, timing })
    }

    /// Tensors that have their place: a worker, nothing before it or after it.
    pub(crate) async fn infer(
        &self,
        slot: Slot,
        request: TensorRequest,
        named: bool,
    ) -> Result<TensorAnswer> {
        let mut counted = Counted::begin(self, named);
        let answered = self.run_tensors(slot, request, &mut counted).await;
        let timing = counted.end(answered.as_ref().err());
        answered.map(|outputs| TensorAnswer { outputs, timing })
    }

    async fn run(
        &self,
        slot: Slot,
        pool: &CpuPool,
        request: Request,
        counted: &mut Counted<'_>,
    ) -> Result<mar_handler::Response> {
        let loaded = self.opened().await?;
        let plan = &loaded.plan;
        // The wait for the version to load has its own limit, so the request's begins here.
        let arrived = Instant::now();
        let deadline = arrived + plan.response_timeout;
        let id = request.id.clone();
        let request = Arc::new(request);
        let wait = loaded.wait(arrived, None);
        let place = Place::new(slot);
        let queued = {
            let bytes = request.parts.iter().map(|part| part.data.len()).sum();
            let (loaded, request) = (Arc::clone(&loaded), Arc::clone(&request));
            let (brief, place) = (loaded.handler.preprocess_is_brief(bytes), place.lent());
            let terms = wait.terms;
            // Whoever decodes it queues it, because waking this thread in between takes as long as a small picture.
            let preprocess = move || {
                let inputs = loaded.handler.preprocess(&request)?;
                let took = arrived.elapsed();
                let work = Work::of_handler(inputs, loaded.shares_batches());
                let (job, pending) = Job::new(id, work, terms);
                place.push(job);
                Ok((pending, took))
            };
            pool.run_or_hand_over(brief, "preprocess", deadline, preprocess).await
        };
        counted.timing.rows = 1;
        counted.timing.preprocess = arrived.elapsed();
        let (pending, took) = queued?;
        counted.timing.preprocess = took;
        let outputs = self.outputs(pending, wait, counted).await?;
        let encoding = Instant::now();
        // Encoding is the last stage: it has as long as a whole request, so that one which came back from
        // its worker just in time is not lost.
        let deadline = encoding + plan.response_timeout;
        let bytes = outputs.iter().map(|output| output.bytes().len()).sum();
        let brief = loaded.handler.postprocess_is_brief(bytes);
        let postprocess = move || loaded.handler.postprocess(outputs, &request);
        let response = pool.run_or_hand_over(brief, "postprocess", deadline, postprocess).await;
        counted.timing.postprocess = encoding.elapsed();
        response
    }

    async fn run_tensors(
        &self,
        slot: Slot,
        request: TensorRequest,
        counted: &mut Counted<'_>,
    ) -> Result<Vec<Tensor>> {
        let loaded = self.opened().await?;
        let wait = loaded.wait(Instant::now(), Some(&request));
        let TensorRequest { id, inputs, .. } = request;
        let rows = loaded.interface.rows(&inputs)?;
        counted.timing.rows = rows;
        let shares = loaded.interface.batched && loaded.shares_batches();
        let work = Work { lane: Lane::Network, inputs, rows, shares };
        let (job, pending) = Job::new(id, work, wait.terms);
        slot.push(job);
        self.outputs(pending, wait, counted).await
    }

    /// What a worker makes of a job that waits in the queue.
    async fn outputs(
        &self,
        pending: Pending,
        wait: Wait,
        counted: &mut Counted<'_>,
    ) -> Result<Vec<Tensor>> {
        let done = self.answer(pending, wait).await?;
        counted.timing.queue = done.queue;
        counted.timing.inference = done.batch.total();
        counted.timing.batch = done.batch;
        Ok(done.outputs)
    }

    /// Waits for what a worker makes of a job.
    async fn answer(&self, mut pending: Pending, wait: Wait) -> Result<Done> {
        // A job that was begun when its time in the queue is over may take until the overall deadline.
        for until in [wait.terms.deadline, wait.end] {
            match timeout_at(until.into(), &mut pending.reply).await {
                Ok(Ok(answer)) => return answer,
                // The queue drops a job whose time is over.
                _ if !pending.has_started() => return Err(wait.too_long(&self.name)),
                Ok(Err(_)) => {
                    let message = format!("Worker died. Model \"{}\": send again", self.name);
                    return Err(Error::new(ErrorCode::WorkerDied, message));
                }
                Err(_) => {}
            }
        }
        let message = format!(
            "Worker died. Model \"{}\" gave no answer within {} s (responseTimeout)",
            self.name,
            wait.end.saturating_duration_since(wait.terms.arrived).as_secs_f32()
        );
        Err(Error::new(ErrorCode::WorkerDied, message))
    }

    /// What the version is made of, once it is loaded.
    async fn opened(&self) -> Result<Arc<Loaded>> {
        let mut state = self.state();
        if state == VersionState::Loading {
            state = self.no_longer_loading().await?;
        }
        match (state, self.loaded.get()) {
            (VersionState::Failed(reason), _) => Err(Error::new(
                ErrorCode::Unavailable,
                format!(
                    "model \"{}\" version \"{}\" did not load: {reason}",
                    self.name, self.version
                ),
            )),
            // A request that is in is answered, whatever becomes of the version meanwhile.
            (_, Some(loaded)) => Ok(Arc::clone(loaded)),
            (_, None) => Err(self.going_away()),
        }
    }

    /// Waits until it is loaded, or will not be.
    async fn no_longer_loading(&self) -> Result<VersionState> {
        let begun = Instant::now();
        let mut states = self.state.subscribe();
        loop {
            let limit = self.plan().map_or(self.startup_timeout, |plan| plan.startup_timeout);
            let loaded = states.wait_for(|state| *state != VersionState::Loading);
            match timeout_at((begun + limit).into(), loaded).await {
                Ok(state) => return Ok(state.map_or(VersionState::Unloaded, |state| state.clone())),
                // Meanwhile it may be known to take longer.
                Err(_) if self.plan().is_some_and(|plan| plan.startup_timeout > limit) => {}
                Err(_) => return Err(self.still_loading(limit)),
            }
        }
    }

    fn still_loading(&self, waited: Duration) -> Error {
        let message = format!(
            "model \"{}\" version \"{}\" is still loading after {} s (startupTimeout); send again later",
            self.name,
            self.version,
            waited.as_secs_f32()
        );
        Error::new(ErrorCode::Overloaded, message)
    }

    pub(crate) fn going_away(&self) -> Error {
        let message = format!("model \"{}\" is being unloaded", self.name);
        Error::new(ErrorCode::Unavailable, message)
    }

    fn refusal(&self, refused: Refused) -> Error {
        let (name, version) = (&self.name, &self.version);
        let (code, message) = match refused {
            Refused::Full => (
                ErrorCode::Overloaded,
                format!(
                    "model \"{name}\" version \"{version}\" has {} requests waiting and takes no more; send again later, or give it more workers or a larger job_queue_size",
                    self.queue.load().0
                ),
            ),
            Refused::Busy => (
                ErrorCode::Overloaded,
                format!(
                    "model \"{name}\" version \"{version}\" has no idle worker, and takes requests only where one is (useJobTicket); send again later"
                ),
            ),
            Refused::NoWorkers => (ErrorCode::Unavailable, self.no_workers()),
            Refused::Closed => return self.going_away(),
        };
        Error::new(code, message)
    }

    fn no_workers(&self) -> String {
        let (name, version) = (&self.name, &self.version);
        let failed = self.workers().into_iter().find_map(|worker| worker.reason);
        match (failed, self.state().reason()) {
            (Some(reason), _) => {
                format!("model \"{name}\" version \"{version}\" has no worker left: {reason}")
            }
            (None, Some(reason)) => {
                format!("model \"{name}\" version \"{version}\" did not load: {reason}")
            }
            (None, None) => format!(
                "model \"{name}\" version \"{version}\" has no worker to serve it; scale it up with PUT /models/{name}?min_worker=1"
            ),
        }
    }
}

impl<'a> Counted<'a> {
    fn begin(version: &'a ModelVersion, named: bool) -> Self {
        version.events.received(named);
        Self {
            version,
            named,
            arrived: Instant::now(),
            timing: Timing::default(),
            outcome: Outcome::Abandoned,
        }
    }

    /// Counts it as ended now, with this error or an answer.
    fn end(mut self, error: Option<&Error>) -> Timing {
        self.outcome = error.map_or(Outcome::Answered, |error| Outcome::Refused(error.code()));
        self.timing.total = self.arrived.elapsed();
        self.timing
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.timing.total = self.arrived.elapsed();
        self.version.events.finished(self.named, self.outcome, &self.timing);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Identity;
    use super::*;
    use crate::batch::BatchPolicy;
    use crate::events::NoEvents;
    use crate::queue::QueueRules;
    use crate::workshop::Workshop;

    #[tokio::test]
    async fn a_request_to_a_version_that_never_opens_is_answered() {
        let policy = BatchPolicy::of(1, Duration::ZERO);
        let rules = QueueRules { capacity: 1, policy, idle_only: false };
        let identity = Identity {
            name: "m".into(),
            version: "1".into(),
            url: String::new(),
            archive: PathBuf::new(),
            at_startup: false,
            network: None,
            startup_timeout: Duration::from_millis(20),
        };
        let workshop = Workshop::open(1, Duration::ZERO).unwrap();
        let version = ModelVersion::loading(identity, rules, Arc::new(NoEvents), workshop);
        let pool = CpuPool::new(1).unwrap();
        let slot = version.reserve().unwrap().unwrap();
        let answer = version.predict(slot, &pool, Request::default(), false);
        let error =
            tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Overloaded);
        assert!(error.message().contains("still loading after 0.02 s"), "{error}");
        assert!(version.reserve().unwrap().is_ok(), "its place is free again");
        version.workshop.close();
    }
}
