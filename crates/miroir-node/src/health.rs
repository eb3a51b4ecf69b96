//! Whether a node answers: what health checks and real requests have seen.

use std::sync::Mutex;

use time::OffsetDateTime;
use tokio::sync::watch;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answers.
    Healthy,
    /// It answers, but failed lately: least preferred.
    Degraded,
    /// It does not answer: nothing is sent to it but health checks.
    Failed,
    /// It answers again, but has not been looked at: as failed, until it is known what it holds.
    Returning,
    /// It answers again, but some replicas on it are stale.
    Recovering,
}

impl NodeState {
    /// As the admin API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Returning => "returning",
            Self::Recovering => "recovering",
        }
    }

    /// Requests may be sent to it.
    pub fn is_live(self) -> bool {
        match self {
            Self::Healthy | Self::Degraded | Self::Recovering => true,
            Self::Failed | Self::Returning => false,
        }
    }
}

/// What is known of a node's health.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it stands.
    pub state: NodeState,
    /// Since when.
    pub since: OffsetDateTime,
    /// Why it was last found unhealthy.
    pub last_error: Option<String>,
    /// The Meilisearch version it runs, once known.
    pub version: Option<String>,
}

/// The health of one node, fed by checks and by requests.
pub struct Health {
    unhealthy_threshold: u32,
    recovery_threshold: u32,
    inner: Mutex<Inner>,
    /// How often the node has failed, for calls that are under way.
    falls: watch::Sender<u64>,
}

struct Inner {
    report: Report,
    failures: u32,
    successes: u32,
    confirmed: bool,
    /// How often it has failed.
    falls: u64,
}

/// A node that has returned, from then until it fails again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return(u64);

impl Health {
    /// A node is taken for live until it proves otherwise: a fleet that has just started serves at once.
    pub fn new(unhealthy_threshold: u32, recovery_threshold: u32) -> Self {
        let report =
            Report { state: NodeState::Healthy, since: OffsetDateTime::now_utc(), last_error: None, version: None };
        Self {
            unhealthy_threshold: unhealthy_threshold.max(1),
            recovery_threshold: recovery_threshold.max(1),
            inner: Mutex::new(Inner { report, failures: 0, successes: 0, confirmed: false, falls: 0 }),
            falls: watch::Sender::new(0),
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = inner.falls;
        let changed = change(&mut inner);
        if inner.falls != before {
            self.falls.send_replace(inner.falls);
        }
        changed
    }

    /// Changes when the node fails the next time: what it was asked before will not be answered.
    pub fn next_fall(&self) -> watch::Receiver<u64> {
        self.falls.subscribe()
    }

    /// Where it stands.
    pub fn state(&self) -> NodeState {
        self.update(|inner| inner.report.state)
    }

    /// All that is known.
    pub fn report(&self) -> Report {
        self.update(|inner| inner.report.clone())
    }

    /// A health check succeeded. Returns the state when it changed.
    pub fn check_passed(&self, has_stale_replicas: bool) -> Option<NodeState> {
        let recovery = self.recovery_threshold;
        self.update(|inner| {
            inner.failures = 0;
            inner.confirmed = true;
            inner.successes = inner.successes.saturating_add(1);
            let settled = if has_stale_replicas { NodeState::Recovering } else { NodeState::Healthy };
            let next = match inner.report.state {
                NodeState::Failed if inner.successes < recovery => NodeState::Failed,
                NodeState::Failed | NodeState::Returning => NodeState::Returning,
                NodeState::Healthy | NodeState::Degraded | NodeState::Recovering => settled,
            };
            inner.set(next, None)
        })
    }

    /// The return that is to be looked into; none: it has not just returned.
    pub fn returned(&self) -> Option<Return> {
        self.update(|inner| (inner.report.state == NodeState::Returning).then_some(Return(inner.falls)))
    }

    /// It was looked into a return, and the node counts again, unless it has failed since. Returns the state when it changed.
    pub fn examined(&self, returned: Return, has_stale_replicas: bool) -> Option<NodeState> {
        self.update(|inner| {
            if inner.report.state != NodeState::Returning || inner.falls != returned.0 {
                return None;
            }
            inner.set(if has_stale_replicas { NodeState::Recovering } else { NodeState::Healthy }, None)
        })
    }

    /// A node that has returned is not taken, for this reason.
    pub fn refused(&self, why: &str) {
        self.update(|inner| inner.report.last_error = Some(why.to_owned()));
    }

    /// It does not hold what it had accepted: nothing counts on it until it was looked at. Returns the state when it
    /// changed.
    pub fn forgot(&self, why: &str) -> Option<NodeState> {
        self.update(|inner| {
            inner.successes = 0;
            inner.falls += 1;
            inner.set(NodeState::Failed, Some(why))
        })
    }

    /// A health check failed. Returns the state when it changed.
    pub fn check_failed(&self, why: &str) -> Option<NodeState> {
        let threshold = self.unhealthy_threshold;
        self.update(|inner| inner.fail(threshold, why))
    }

    /// A request got an answer: connection failures in a row end.
    pub fn request_answered(&self) {
        self.update(|inner| inner.failures = 0);
    }

    /// A request could not connect; as many in a row as failed checks make a node failed.
    pub fn connection_failed(&self, why: &impl ToString) -> Option<NodeState> {
        let threshold = self.unhealthy_threshold;
        let why = why.to_string();
        self.update(|inner| inner.fail(threshold, &why))
    }

    /// A check has passed or a verdict has been reached: the state is more than the benefit of the doubt.
    pub fn is_confirmed(&self) -> bool {
        self.update(|inner| inner.confirmed || !inner.report.state.is_live())
    }

    /// Remember which Meilisearch runs there.
    pub fn set_version(&self, version: String) {
        self.update(|inner| inner.report.version = Some(version));
    }
}

impl Inner {
    fn fail(&mut self, threshold: u32, why: &str) -> Option<NodeState> {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let fails = !self.report.state.is_live() || self.failures >= threshold;
        let next = if fails { NodeState::Failed } else { NodeState::Degraded };
        if fails && self.report.state != NodeState::Failed {
            self.falls += 1;
        }
        self.set(next, Some(why))
    }

    fn set(&mut self, next: NodeState, why: Option<&str>) -> Option<NodeState> {
        match why {
            Some(why) => self.report.last_error = Some(why.to_owned()),
            None if next == NodeState::Healthy => self.report.last_error = None,
            None => {}
        }
        if next == self.report.state {
            return None;
        }
        self.report.state = next;
        self.report.since = OffsetDateTime::now_utc();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_fail_a_node_and_successes_bring_it_back() {
        let health = Health::new(3, 2);
        assert_eq!(health.check_failed("refused"), Some(NodeState::Degraded));
        health.check_failed("refused");
        assert_eq!(health.check_failed("refused"), Some(NodeState::Failed));
        assert_eq!(health.check_passed(true), None);
        assert_eq!(health.returned(), None);
        assert_eq!(health.check_passed(true), Some(NodeState::Returning));
        assert_eq!((health.check_passed(true), health.state().is_live()), (None, false));
        let returned = health.returned().expect("it has");
        assert_eq!(health.examined(returned, true), Some(NodeState::Recovering));
        assert_eq!(health.check_passed(false), Some(NodeState::Healthy));
        assert_eq!(health.report().last_error, None, "it is over");
    }

    #[test]
    fn a_look_into_an_earlier_return_does_not_count() {
        let health = Health::new(1, 1);
        health.check_failed("refused");
        health.check_passed(false);
        let first = health.returned().expect("it has");
        health.check_failed("refused");
        health.check_passed(false);
        assert_eq!(health.examined(first, false), None);
        assert!(!health.state().is_live());
        let second = health.returned().expect("it has again");
        assert_eq!(health.examined(second, false), Some(NodeState::Healthy));
        assert_eq!(health.forgot("an older disk"), Some(NodeState::Failed));
        assert_eq!(health.examined(second, false), None);
    }

    #[test]
    fn who_waits_for_a_node_hears_that_it_fails_and_of_nothing_else() {
        let health = Health::new(2, 1);
        let fall = health.next_fall();
        health.check_failed("silent");
        assert_eq!(fall.has_changed().ok(), Some(false));
        health.check_failed("silent");
        assert_eq!(fall.has_changed().ok(), Some(true));
        // Whoever asks a failed node something waits for the next time.
        let next = health.next_fall();
        health.check_failed("silent");
        health.check_passed(false);
        assert_eq!(next.has_changed().ok(), Some(false));
        health.check_failed("silent");
        assert_eq!(next.has_changed().ok(), Some(true));
    }

    #[test]
    fn an_answer_ends_a_row_of_connection_failures() {
        let health = Health::new(2, 1);
        health.connection_failed(&"reset");
        health.request_answered();
        health.connection_failed(&"reset");
        assert!(health.state().is_live());
        health.connection_failed(&"reset");
        assert!(!health.state().is_live());
    }
}
