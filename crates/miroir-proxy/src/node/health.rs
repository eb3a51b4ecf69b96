//! Whether a node answers: what health checks and real requests have seen.

use std::sync::Mutex;

use time::OffsetDateTime;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answers.
    Healthy,
    /// It answers, but it was not asked about itself for a while or failed lately: least preferred.
    Degraded,
    /// It does not answer: nothing is sent to it but health checks.
    Failed,
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
            Self::Recovering => "recovering",
        }
    }

    /// Requests may be sent to it.
    pub fn is_live(self) -> bool {
        match self {
            Self::Healthy | Self::Degraded | Self::Recovering => true,
            Self::Failed => false,
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
}

struct Inner {
    report: Report,
    failures: u32,
    successes: u32,
    confirmed: bool,
}

impl Health {
    /// A node is taken for live until it proves otherwise: a fleet that has just started serves at once.
    pub fn new(unhealthy_threshold: u32, recovery_threshold: u32) -> Self {
        let report =
            Report { state: NodeState::Healthy, since: OffsetDateTime::now_utc(), last_error: None, version: None };
        Self {
            unhealthy_threshold: unhealthy_threshold.max(1),
            recovery_threshold: recovery_threshold.max(1),
            inner: Mutex::new(Inner { report, failures: 0, successes: 0, confirmed: false }),
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
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
                NodeState::Failed | NodeState::Healthy | NodeState::Degraded | NodeState::Recovering => settled,
            };
            inner.set(next, None)
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
    pub fn connection_failed(&self, why: &impl ToString) {
        let threshold = self.unhealthy_threshold;
        let why = why.to_string();
        self.update(|inner| inner.fail(threshold, &why));
    }

    /// A check has passed or a verdict has been reached: the state is more than the benefit of the doubt.
    pub fn is_confirmed(&self) -> bool {
        self.update(|inner| inner.confirmed || inner.report.state == NodeState::Failed)
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
        self.set(next, Some(why))
    }

    fn set(&mut self, next: NodeState, why: Option<&str>) -> Option<NodeState> {
        if let Some(why) = why {
            self.report.last_error = Some(why.to_owned());
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
        assert_eq!(health.check_passed(true), Some(NodeState::Recovering));
        assert_eq!(health.check_passed(false), Some(NodeState::Healthy));
        assert_eq!(health.report().last_error.as_deref(), Some("refused"));
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
