//! What this instance remembers of the changes that it leads, to tell more of them: nothing depends on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::base::id::{NodeId, TaskUid};
use miroir_core::settings::broadcast::Phase;
use miroir_core::write::task::{NodeTask, Task};
use time::OffsetDateTime;

/// What is remembered of one change.
pub(super) struct Trace {
    /// The number of its task.
    pub task: Option<TaskUid>,
    /// When it was first looked at.
    pub since: Instant,
    /// When the first node began.
    pub started_at: Option<OffsetDateTime>,
    /// What nodes were told, and what became of it.
    pub node_tasks: BTreeMap<(NodeId, u64), NodeTask>,
    /// Where it stood.
    pub phase: Option<Phase>,
    /// Nodes that read back something else, so far.
    pub mismatches: u32,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            task: None,
            since: Instant::now(),
            started_at: None,
            node_tasks: BTreeMap::new(),
            phase: None,
            mismatches: 0,
        }
    }
}

impl Trace {
    /// Since it was first looked at.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Put into a task what is known of the nodes' tasks.
    pub fn complete(&self, task: &mut Task) {
        task.started_at = task.started_at.or(self.started_at);
        let known = task.node_tasks.drain(..).map(|t| ((t.node.clone(), t.uid), t));
        let mut all: BTreeMap<(NodeId, u64), NodeTask> = known.collect();
        all.extend(self.node_tasks.iter().map(|(key, told)| (key.clone(), told.clone())));
        task.node_tasks = all.into_values().collect();
    }
}

/// By scope: one change of an index is under way at a time.
#[derive(Default)]
pub(super) struct Traces(Mutex<HashMap<String, (Option<String>, Trace)>>);

impl Traces {
    /// Look at, or change, the trace of a change, known by its scope and token.
    pub fn with<T>(&self, scope: &str, token: Option<&str>, look: impl FnOnce(&mut Trace) -> T) -> T {
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, trace) = traces.entry(scope.to_owned()).or_default();
        if known.as_deref() != token {
            (*known, *trace) = (token.map(str::to_owned), Trace::default());
        }
        look(trace)
    }

    /// Forget it.
    pub fn end(&self, scope: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(scope);
    }

    /// The furthest that any change is; none: there is none.
    pub fn phase(&self) -> Option<Phase> {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traces.values().filter_map(|(_, trace)| trace.phase).max_by_key(|phase| number(*phase))
    }
}

/// As the metric shows it.
pub(super) fn number(phase: Phase) -> i64 {
    match phase {
        Phase::Propose => 1,
        Phase::Verify => 2,
        Phase::Commit => 3,
        Phase::GoingBack => 4,
    }
}
