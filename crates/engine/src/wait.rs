//! How long one request may wait, in which order, and what is said of one that waited too long.

use std::time::Instant;

use mar_handler::{Error, ErrorCode};

use crate::infer::TensorRequest;
use crate::job::Terms;
use crate::network::{QueuePolicy, Scheduling};
use crate::version::Loaded;

/// A request's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) terms: Terms,
    /// By when it is answered, whatever happens.
    pub(crate) end: Instant,
    /// What bounds its wait for a worker.
    bound: Bound,
}

/// What bounds the wait for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// A key of the version's settings.
    Key(&'static str),
    /// The request's own time-out, or that of its level.
    Policy,
}

impl Loaded {
    /// How long a request that arrived now may wait. Those to the handler are of the default level.
    pub(crate) fn wait(&self, arrived: Instant, tensors: Option<&TensorRequest>) -> Wait {
        let plan = &self.plan;
        let (priority, timeout) = tensors.map_or((0, None), |of| (of.priority, of.timeout));
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let equal = Scheduling::default();
        let scheduling = self.network.as_ref().map_or(&equal, |network| &network.scheduling);
        let level = scheduling.level(priority);
        let policy = scheduling.policy_of(level);
        // An archive has no policy, and so nothing against a client that is in a hurry.
        let own = timeout.filter(|_| self.network.is_none() || policy.allows_override);
        let limit = [own, policy.timeout].into_iter().flatten().min();
        let longest = plan.queue_timeout();
        let is_clients = longest < plan.response_timeout;
        let bound = if is_clients { "clientTimeoutInMills" } else { "responseTimeout" };
        let earlier = limit.filter(|limit| *limit < longest);
        let (bound, longest, late) = match earlier {
            Some(limit) if policy.delays => (Bound::Key(bound), longest, Some(arrived + limit)),
            Some(limit) => (Bound::Policy, limit, None),
            None => (Bound::Key(bound), longest, None),
        };
        let deadline = arrived + longest;
        let most_waiting = policy.max_size;
        let terms = Terms { arrived, deadline, level, late, most_waiting };
        Wait { terms, end: arrived + plan.response_timeout, bound }
    }
}

impl Wait {
    /// What is said of a request that no worker had in time.
    pub(crate) fn too_long(&self, model: &str) -> Error {
        let limit = self.terms.deadline.saturating_duration_since(self.terms.arrived);
        let seconds = limit.as_secs_f32();
        let message = match self.bound {
            Bound::Key(key) => format!(
                "model \"{model}\" had no worker free for the request within {seconds} s ({key}); send again later"
            ),
            Bound::Policy => format!(
                "request timeout expired: model \"{model}\" had no worker free for it within {seconds} s; send again later, or with a longer timeout"
            ),
        };
        Error::new(ErrorCode::Overloaded, message)
    }
}

impl Scheduling {
    /// The level of a request that names this one.
    fn level(&self, priority: u64) -> u64 {
        if (1..=self.priority_levels).contains(&priority) {
            priority
        } else {
            self.default_priority
        }
    }

    fn policy_of(&self, level: u64) -> &QueuePolicy {
        self.policies.get(&level).unwrap_or(&self.policy)
    }
}
