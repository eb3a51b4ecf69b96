//! What the next decision about a line needs to know.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use miroir_core::base::id::{IndexUid, NodeId, TaskUid};
use miroir_core::settings::broadcast::{
    Answers, BroadcastFacts, Head, Line, LineFacts, Phase, Presence, Question, TaskReport,
};
use miroir_core::write::task::{NodeTask, Task, TaskKind, TaskQuery};
use miroir_node::{Call, ResponseError, TaskResponse};
use miroir_work::led::NotActed;
use serde_json::Value;
use time::OffsetDateTime;

use super::machine::{Broadcasting, LineObservation, subject};
use super::trace::number;
use crate::Error;
use crate::error::not_acted;
use crate::state::stored_work::unfinished;

/// Tasks looked at together.
const PAGE: usize = 256;

impl Broadcasting {
    pub(super) async fn look(&self, scope: &str, line: &Line) -> Result<LineObservation, NotActed> {
        let physical = subject(scope)?;
        self.look_at(scope, &physical, line).await.map_err(not_acted)
    }

    async fn look_at(&self, scope: &str, physical: &IndexUid, line: &Line) -> Result<LineObservation, Error> {
        let settings = &self.settings;
        let live: BTreeSet<NodeId> =
            settings.state.nodes().keys().filter(|node| settings.state.is_live(node)).cloned().collect();
        let token = line.head().and_then(|head| head.token().map(str::to_owned));
        if settings.state.store.is_shared() {
            settings.state.catalog.refresh_physical(physical).await?;
        }
        let born = line.head().map(|head| head.born());
        let index = settings.state.catalog.by_physical(physical).filter(|index| Some(index.created_at) == born);
        let presence = match &index {
            None => Presence::Gone,
            Some(index) if !index.ready => Presence::Growing,
            Some(_) => Presence::Ready,
        };
        let task = match &token {
            Some(token) => self.task(scope, token).await?,
            None => None,
        };
        let canceler = match &task {
            Some(task) => self.canceler(task.uid).await?,
            None => None,
        };
        let (answers, phase) = match line.head() {
            Some(Head::Current(change)) if change.reserved_until.is_none() => {
                let questions = change.record.questions(&live);
                (self.ask(scope, token.as_deref(), physical, &questions).await, Some(change.record.phase()))
            }
            Some(Head::Current(_) | Head::Pending(_)) | None => (Answers::default(), None),
        };
        let about_to_end = match phase {
            Some(Phase::Propose | Phase::Verify) => presence == Presence::Gone,
            Some(Phase::Commit | Phase::GoingBack) | None => true,
        };
        let earlier_open = match &task {
            Some(task) if about_to_end => self.earlier_open(physical, task.uid).await?,
            Some(_) | None => false,
        };
        let ended = token.is_some() && task.is_none();
        self.record(scope, token.as_deref(), line);
        let (begun, age) = self.traces.with(scope, token.as_deref(), |trace| (trace.started_at.is_some(), trace.age()));
        let broadcast = BroadcastFacts { now: OffsetDateTime::now_utc(), live, answers, cancel: canceler.is_some() };
        let facts = LineFacts { broadcast, index: presence, ended, earlier_open };
        Ok(LineObservation { facts, index, task, canceler, begun, age })
    }

    /// What operators see.
    fn record(&self, scope: &str, token: Option<&str>, line: &Line) {
        let more = self.traces.with(scope, token, |trace| {
            let record = line.current.as_ref().map(|change| &change.record);
            trace.phase = record.map(|record| record.phase());
            let mismatches = record.map_or(0, |record| record.mismatches());
            let more = mismatches.saturating_sub(trace.mismatches);
            trace.mismatches = trace.mismatches.max(mismatches);
            more
        });
        self.settings.state.metrics.settings_mismatches(more);
        self.show_phase();
    }

    /// How far the broadcasts are that this instance leads.
    pub(super) fn show_phase(&self) {
        self.settings.state.metrics.settings_phase(self.traces.phase().map_or(0, number));
    }

    /// The task that bears this token; none: it has ended. It was registered together with the change.
    async fn task(&self, scope: &str, token: &str) -> Result<Option<Task>, Error> {
        let known = self.traces.with(scope, Some(token), |trace| trace.task);
        let found = match known {
            Some(uid) => self.settings.state.store.task(uid).await?,
            None => self.find(token).await?,
        };
        if let Some(task) = &found {
            self.traces.with(scope, Some(token), |trace| trace.task = Some(task.uid));
        }
        Ok(found.filter(|task| !task.status.is_final()))
    }

    async fn find(&self, token: &str) -> Result<Option<Task>, Error> {
        let open = TaskQuery { kinds: Some([TaskKind::SettingsUpdate].into()), limit: PAGE, ..unfinished() };
        let bears = |task: &Task| task.effects.broadcast.as_ref().is_some_and(|broadcast| broadcast.token == token);
        let mut from = None;
        loop {
            let page = self.settings.state.store.tasks(&TaskQuery { from, ..open.clone() }).await?;
            if let Some(found) = page.tasks.into_iter().find(bears) {
                return Ok(Some(found));
            }
            let Some(next) = page.next else { return Ok(None) };
            from = Some(next);
        }
    }

    /// The unfinished cancelation that is about this task; the first.
    async fn canceler(&self, uid: TaskUid) -> Result<Option<TaskUid>, Error> {
        let cancelations =
            TaskQuery { kinds: Some([TaskKind::TaskCancelation].into()), limit: PAGE, reverse: true, ..unfinished() };
        let open = self.settings.state.store.tasks(&cancelations).await?;
        Ok(open.tasks.into_iter().find(|task| task.effects.cancels.contains(uid)).map(|task| task.uid))
    }

    /// Whether tasks of the index have not ended that were asked for before this one.
    async fn earlier_open(&self, physical: &IndexUid, uid: TaskUid) -> Result<bool, Error> {
        // Tasks are found by the name that the index has for writers now; of an index that is gone none matters.
        let Some(index) = self.settings.state.catalog.by_physical(physical) else { return Ok(false) };
        let open =
            TaskQuery { index_uids: Some([index.uid.clone()].into()), limit: PAGE, reverse: true, ..unfinished() };
        let mut from = None;
        loop {
            let page = self.settings.state.store.tasks(&TaskQuery { from, ..open.clone() }).await?;
            let mut earlier = page.tasks.iter().take_while(|task| task.uid < uid);
            if earlier.any(|task| task.physical.as_ref() == Some(physical)) {
                return Ok(true);
            }
            match page.next {
                Some(next) if next < uid => from = Some(next),
                Some(_) | None => return Ok(false),
            }
        }
    }

    /// Ask nodes, each once for all of its tasks.
    async fn ask(&self, scope: &str, token: Option<&str>, physical: &IndexUid, questions: &[Question]) -> Answers {
        let mut tasks: BTreeMap<&NodeId, Vec<u64>> = BTreeMap::new();
        let mut settings: Vec<&NodeId> = Vec::new();
        for question in questions {
            match question {
                Question::Task(node, uid) => tasks.entry(node).or_default().push(*uid),
                Question::Settings(node) => settings.push(node),
            }
        }
        let reported = join_all(tasks.iter().map(|(node, uids)| self.tasks_of(node, uids)));
        let read = join_all(settings.into_iter().map(|node| self.settings_of(node, physical)));
        let (reported, read) = futures_util::future::join(reported, read).await;
        let mut answers = Answers::default();
        for (node, asked, response) in reported.into_iter().flatten() {
            self.traces.with(scope, token, |trace| {
                for task in &response {
                    let began = [trace.started_at, task.started_at].into_iter().flatten().min();
                    trace.started_at = began;
                    trace.node_tasks.insert((node.clone(), task.uid), node_task(&node, task));
                }
            });
            let mut known: BTreeMap<u64, TaskReport> =
                response.into_iter().map(|task| (task.uid, TaskReport::Known(task.status, task.error))).collect();
            for uid in asked {
                let report = known.remove(&uid).unwrap_or(TaskReport::Unknown);
                answers.tasks.insert((node.clone(), uid), report);
            }
        }
        answers.settings = read.into_iter().flatten().collect();
        answers
    }

    async fn tasks_of(&self, node: &NodeId, uids: &[u64]) -> Option<(NodeId, Vec<u64>, Vec<TaskResponse>)> {
        let response = self.settings.state.node(node)?.these_tasks(uids, self.settings.state.read_timeout()).await;
        Some((node.clone(), uids.to_vec(), answered(node, response)?))
    }

    async fn settings_of(&self, node: &NodeId, physical: &IndexUid) -> Option<(NodeId, Value)> {
        let path = format!("/indexes/{physical}/settings");
        let response =
            self.settings.state.node(node)?.read(Call::get("settings", path, self.settings.state.read_timeout())).await;
        Some((node.clone(), answered(node, response)?))
    }
}

/// The response, if there is a usable one. `None`: the node is asked again in the next round.
fn answered<T>(node: &NodeId, response: Result<T, ResponseError>) -> Option<T> {
    match response {
        Ok(response) => Some(response),
        Err(ResponseError::Unanswered(error)) => {
            tracing::debug!(%node, %error, "a node gave no usable response");
            None
        }
        Err(error) => {
            tracing::warn!(%node, %error, "a node gave no usable response");
            None
        }
    }
}

fn node_task(node: &NodeId, response: &TaskResponse) -> NodeTask {
    NodeTask {
        node: node.clone(),
        uid: response.uid,
        shards: Vec::new(),
        status: response.status,
        error: response.error.clone(),
        deleted_documents: None,
    }
}
