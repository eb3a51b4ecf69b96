//! How a change ends: the catalog and the task, in one step.
//!
//! Invariant: a change is concluded once. Its task ends in the same step, and what has an ended task is not concluded.

use std::collections::BTreeSet;

use miroir_core::base::id::NodeId;
use miroir_core::settings::broadcast::{ChangeEnd, Committed, Failed, Head, Line};
use miroir_core::write::task::{Task, TaskStatus};
use miroir_store::Batch;
use miroir_work::led::Leadership;
use time::OffsetDateTime;

use super::machine::{Broadcasting, Ending, subject};
use crate::state::index_lock::IndexGuard;
use crate::task::reconcile::finish;
use crate::{Error, Index};

impl Broadcasting {
    /// End the change whose turn it is. Returns what is left of the line.
    pub(super) async fn conclude(
        &self,
        lead: &Leadership,
        line: &Line,
        outcome: ChangeEnd,
        ending: Ending,
    ) -> Result<Line, Error> {
        let settings = &self.settings;
        let rest = line.rest();
        let Some(head) = line.head() else { return Ok(rest) };
        let physical = subject(lead.scope()).map_err(|error| Error::Internal(error.to_string()))?;
        let task = ending.task.map(|mut task| {
            self.traces.with(lead.scope(), head.token(), |trace| trace.complete(&mut task));
            task.effects.canceler = task.effects.canceler.or(ending.canceler);
            end(&mut task, &outcome);
            task
        });
        let mut with =
            Batch { fences: vec![lead.fence()], task_updates: task.iter().cloned().collect(), ..Batch::default() };
        let mut guard = None;
        if let (ChangeEnd::Fail(failed), Head::Current(change), Some(index)) = (&outcome, head, &ending.index)
            && change.creates_index
            && (failed.error.is_none() || task.is_none())
        {
            guard = Some(settings.writes.lock_index(&index.uid).await?);
            if settings.state.is_awaited(index, &task.iter().map(|task| task.uid).collect()).await? {
                guard = None;
            }
        }
        match (&outcome, head, &ending.index) {
            // It was canceled, or nobody was promised anything: there is no index. One of which the settings alone have
            // failed comes into being without them, as with one server.
            (_, _, Some(index)) if guard.is_some() => {
                with.fences.extend(guard.as_ref().map(IndexGuard::fence));
                settings.writes.forget_index_with(index, with).await?;
            }
            (outcome, head, _) => {
                let members: BTreeSet<NodeId> = settings.state.nodes().keys().cloned().collect();
                let changing = !rest.queue.is_empty();
                let write = |index: &mut Index| {
                    write(index, outcome, &members);
                    index.changing = changing;
                };
                settings.state.catalog.amend(&physical, head.born(), write, with).await?;
            }
        }
        drop(guard);
        self.traces.end(lead.scope());
        self.tell_operators(physical.as_str(), &outcome, task.as_ref());
        // What was held up by it may end now.
        settings.state.registered.notify_one();
        settings.state.announce(&task);
        Ok(rest)
    }

    fn tell_operators(&self, index: &str, outcome: &ChangeEnd, task: Option<&Task>) {
        let task = task.map(|task| task.uid.to_string()).unwrap_or_default();
        match outcome {
            ChangeEnd::Commit(committed) => {
                tracing::info!(index, task, version = committed.version, "settings committed");
            }
            ChangeEnd::Fail(failed) => {
                let Failed { error, doubtful, unrepairable, frozen, .. } = &**failed;
                let error = error.as_ref().map_or("canceled", |error| error.message.as_str());
                if unrepairable.is_empty() {
                    tracing::warn!(index, task, error, ?doubtful, "settings not changed");
                } else {
                    self.settings.state.metrics.settings_unrepairable();
                    tracing::error!(index, task, error, ?doubtful, ?unrepairable, ?frozen, "settings unrepairable");
                }
            }
            ChangeEnd::Canceled => tracing::info!(index, task, "settings not changed: canceled"),
            ChangeEnd::Superseded => tracing::info!(index, task, "the index of changed settings is gone"),
        }
    }
}

/// The end of the task.
fn end(task: &mut Task, outcome: &ChangeEnd) {
    match outcome {
        ChangeEnd::Commit(committed) => {
            if let Some(broadcast) = &mut task.effects.broadcast {
                broadcast.version = Some(committed.version);
            }
            finish(task, TaskStatus::Succeeded, None);
        }
        ChangeEnd::Superseded => finish(task, TaskStatus::Succeeded, None),
        ChangeEnd::Canceled => finish(task, TaskStatus::Canceled, None),
        ChangeEnd::Fail(failed) => match &failed.error {
            Some(error) => finish(task, TaskStatus::Failed, Some(error.clone())),
            None => finish(task, TaskStatus::Canceled, None),
        },
    }
}

/// What the catalog says of the index from then on.
fn write(index: &mut Index, outcome: &ChangeEnd, members: &BTreeSet<NodeId>) {
    match outcome {
        ChangeEnd::Commit(committed) => commit(index, committed, members),
        ChangeEnd::Fail(failed) => fail(index, failed),
        ChangeEnd::Canceled | ChangeEnd::Superseded => {}
    }
    // Who has left meanwhile holds nothing up.
    index.frozen.retain(|node| members.contains(node));
}

fn commit(index: &mut Index, committed: &Committed, members: &BTreeSet<NodeId>) {
    if index.settings_version >= committed.version {
        return;
    }
    for node in members.difference(&committed.nodes) {
        index.lagging.entry(node.clone()).or_insert(index.settings_version);
    }
    index.lagging.retain(|node, _| !committed.nodes.contains(node));
    index.frozen.retain(|node| !committed.nodes.contains(node));
    index.settings.clone_from(&committed.settings);
    index.secrets.clone_from(&committed.secrets);
    index.settings_version = committed.version;
    index.ready = true;
    index.updated_at = OffsetDateTime::now_utc();
}

fn fail(index: &mut Index, failed: &Failed) {
    // Of settings that were never read back nobody can say whether a node holds them.
    if !index.settings.is_empty() {
        index.lagging.extend(failed.doubtful.iter().map(|node| (node.clone(), 0)));
    }
    index.lagging.retain(|node, _| !failed.restored.contains(node));
    index.frozen.retain(|node| !failed.restored.contains(node));
    index.frozen.extend(failed.frozen.iter().cloned());
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use miroir_core::settings::{Secrets, Settings};

    use super::*;

    fn nodes(names: &[&str]) -> BTreeSet<NodeId> {
        names.iter().map(|name| NodeId::new(*name)).collect()
    }

    fn index() -> Index {
        let uid: miroir_core::base::id::IndexUid = "movies".parse().expect("a uid");
        let settings: Settings = serde_json::from_str(r#"{"stopWords": []}"#).expect("settings");
        let mut index = Index::new(uid.clone(), uid, None, NonZeroU32::MIN);
        (index.settings, index.settings_version, index.ready) = (settings, 4, true);
        index.lagging = [(NodeId::new("c"), 2)].into();
        index.frozen = nodes(&["b", "c"]);
        index
    }

    fn committed(version: u64) -> ChangeEnd {
        let settings: Settings = serde_json::from_str(r#"{"stopWords": ["a"]}"#).expect("settings");
        let nodes = nodes(&["a", "c"]);
        ChangeEnd::Commit(Box::new(Committed { version, settings, secrets: Secrets::default(), nodes }))
    }

    #[test]
    fn who_was_not_verified_stays_at_its_version() {
        let (mut index, members) = (index(), nodes(&["a", "b", "c"]));
        write(&mut index, &committed(5), &members);
        assert_eq!(index.settings_version, 5);
        assert_eq!(index.lagging, [(NodeId::new("b"), 4)].into());
        assert_eq!(index.frozen, nodes(&["b"]));
        let before = index.clone();
        write(&mut index, &committed(5), &members);
        assert_eq!(index, before, "once");
    }

    #[test]
    fn who_is_in_doubt_is_at_no_version_and_who_was_restored_is_at_the_former() {
        let mut index = index();
        let (doubtful, restored, frozen) = (nodes(&["a"]), nodes(&["b", "c"]), nodes(&["a"]));
        let failed = Failed { doubtful, restored, unrepairable: frozen.clone(), frozen, error: None };
        write(&mut index, &ChangeEnd::Fail(Box::new(failed)), &nodes(&["a", "b", "c"]));
        assert_eq!((index.settings_version, index.lagging), (4, [(NodeId::new("a"), 0)].into()));
        assert_eq!(index.frozen, nodes(&["a"]));
    }
}
