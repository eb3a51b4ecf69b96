//! The machine that drives a line of changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::{IndexUid, NodeId, TaskUid};
use miroir_core::settings::broadcast::{BroadcastFacts, ChangeEnd, Line, LineFacts, LineStep};
use miroir_core::write::task::{Task, TaskStatus};
use miroir_store::Batch;
use miroir_work::led::{Facts, Intent, Leadership, Machine, Next, NotActed, Step};
use serde_json::Value;
use time::OffsetDateTime;

use super::trace::Traces;
use crate::error::not_acted;
use crate::write::settings_line;
use crate::{Index, SharedSettings};

/// The shortest and the longest time between two looks; in between, a tenth of the time that the change has taken.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Drives the changes of settings, index by index. The subject is the index's name on the nodes.
pub struct Broadcasting {
    pub(super) settings: Arc<SharedSettings>,
    pub(super) traces: Traces,
}

/// What was looked at.
pub struct LineObservation {
    /// Without the clock, and without requests of operators.
    pub(super) facts: LineFacts,
    /// The index of the change whose turn it is.
    pub(super) index: Option<Arc<Index>>,
    /// Its task, unless it has ended.
    pub(super) task: Option<Task>,
    /// The cancelation that the task is to end by.
    pub(super) canceler: Option<TaskUid>,
    /// A node has begun.
    pub(super) begun: bool,
    /// Since this instance has looked first.
    pub(super) age: Duration,
}

/// What is done.
pub enum BroadcastAction {
    /// Tell nodes.
    Send(Arc<Index>, BTreeMap<NodeId, Value>),
    /// The first of the queue.
    Begin(Arc<Index>, Ending),
    /// The change whose turn it is ends.
    Conclude(ChangeEnd, Ending),
}

/// What ends with a change.
pub struct Ending {
    /// Its index, as far as it is there.
    pub(super) index: Option<Arc<Index>>,
    /// Its task, when it has one that is open.
    pub(super) task: Option<Task>,
    /// The cancelation that it may end by.
    pub(super) canceler: Option<TaskUid>,
}

impl Broadcasting {
    /// For this cluster.
    pub fn new(settings: Arc<SharedSettings>) -> Self {
        Self { settings, traces: Traces::default() }
    }
}

/// The index's name on the nodes.
pub(super) fn subject(scope: &str) -> Result<IndexUid, NotActed> {
    let name = scope.split_once(':').map_or("", |(_, name)| name);
    name.parse().map_err(|error| NotActed(format!("{scope}: {error}")))
}

impl LineObservation {
    /// The task as it is once a node has begun; none: that is known.
    fn begins(&self, now: OffsetDateTime) -> Option<Task> {
        let task = self.task.as_ref().filter(|task| self.begun && task.status == TaskStatus::Enqueued)?;
        Some(Task { status: TaskStatus::Processing, started_at: task.started_at.or(Some(now)), ..task.clone() })
    }

    fn ending(&self) -> Ending {
        Ending { index: self.index.clone(), task: self.task.clone(), canceler: self.canceler }
    }
}

#[async_trait]
impl Machine for Broadcasting {
    const KIND: &'static str = settings_line::KIND;
    type Record = Line;
    type Seen = LineObservation;
    type Action = BroadcastAction;

    async fn observe(&self, scope: &str, line: &Line) -> Result<LineObservation, NotActed> {
        self.look(scope, line).await
    }

    fn decide(&self, line: &Line, facts: &Facts<LineObservation>) -> Step<Line, BroadcastAction> {
        let seen = &facts.seen;
        let known = &seen.facts;
        let cancel = known.broadcast.cancel || facts.intent == Intent::Cancel;
        let broadcast = BroadcastFacts { now: facts.now, cancel, ..known.broadcast.clone() };
        let step = line.next(&LineFacts { broadcast, ..known.clone() }, &self.settings.broadcast_policy());
        let begins = || Batch { task_updates: seen.begins(facts.now).into_iter().collect(), ..Batch::default() };
        match (step, &seen.index) {
            (LineStep::Wait(wait), _) => Step::Wait(wait),
            (LineStep::Look, _) => match begins() {
                effects if effects.is_empty() => Step::Wait((seen.age / 10).clamp(LOOK.0, LOOK.1)),
                effects => Step::Save(Next { record: line.clone(), effects }),
            },
            (LineStep::Save(record), _) => Step::Save(Next { record: *record, effects: begins() }),
            (LineStep::Send(patches), Some(index)) => Step::Act(BroadcastAction::Send(index.clone(), patches)),
            (LineStep::Begin, Some(index)) => Step::Act(BroadcastAction::Begin(index.clone(), seen.ending())),
            // Only with an index; it is looked up anew.
            (LineStep::Send(_) | LineStep::Begin, None) => Step::Wait(LOOK.0),
            (LineStep::Conclude(outcome), _) => Step::Act(BroadcastAction::Conclude(outcome, seen.ending())),
            (LineStep::Finish, _) => Step::Finish(Batch::default()),
        }
    }

    async fn act(&self, lead: &Leadership, line: &Line, action: BroadcastAction) -> Result<Next<Line>, NotActed> {
        let next = match action {
            BroadcastAction::Send(index, patches) => self.send(lead, line, &index, &patches).await,
            BroadcastAction::Begin(index, ending) => self.begin(lead, line, &index, ending).await,
            BroadcastAction::Conclude(outcome, ending) => self.conclude(lead, line, outcome, ending).await,
        };
        next.map(Next::to).map_err(not_acted)
    }

    fn rebase(&self, before: &Line, stored: &Line, next: Next<Line>) -> Option<Next<Line>> {
        let record = Line::rebased(before, stored, next.record)?;
        Some(Next { record, effects: next.effects })
    }

    fn left(&self, scope: &str) {
        self.traces.end(scope);
        self.show_phase();
    }
}
