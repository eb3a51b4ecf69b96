//! Asks nodes for the states of their tasks, and cancels tasks on nodes.

use futures_util::future::join_all;
use http::Method;
use miroir_core::base::id::NodeId;
use miroir_core::write::backlog::{Backlog, NodeTaskState};
use miroir_node::{Call, ResponseError, TASKS_PER_CALL, TaskResponse, comma_separated};

use super::TaskReconciler;
use crate::Tasks;

/// Requests for tasks that one node gets in one round, as long as most of those asked for have ended.
pub(super) const CALLS: usize = 5;
/// Tasks of one node that are canceled in one round.
const CANCELED: usize = 1000;

impl TaskReconciler {
    /// Ask each node for the oldest of its tasks. Returns whether there is news.
    pub(super) async fn listen(&mut self) -> bool {
        let nodes = self.backlog.nodes();
        let reports = join_all(nodes.iter().map(|node| self.tasks.news_of(&self.backlog, node))).await;
        let mut news = false;
        for (node, states) in nodes.iter().zip(reports) {
            for (uid, state) in states {
                news |= self.backlog.report(node, uid, state);
            }
        }
        news
    }

    /// Cancel on nodes what is to be canceled there. A node that was not reached is asked again in the next round.
    pub(super) async fn cancel_on_nodes(&mut self) {
        let tasks = self.tasks.clone();
        let nodes = self.backlog.nodes_to_cancel_on();
        let to_cancel: Vec<(NodeId, Vec<u64>)> =
            nodes.into_iter().map(|node| (node.clone(), self.backlog.take_to_cancel(&node, CANCELED))).collect();
        let chunks =
            to_cancel.iter().flat_map(|(node, uids)| uids.chunks(TASKS_PER_CALL).map(move |uids| (node, uids)));
        let calls = chunks.map(async |(node, uids)| (node, uids, tasks.cancel_on_node(node, uids).await));
        let canceled = join_all(calls).await;
        let failed: Vec<_> = canceled
            .into_iter()
            .filter(|(.., done)| !done)
            .map(|(node, uids, _)| (node.clone(), uids.to_vec()))
            .collect();
        for (node, uids) in failed {
            self.backlog.cancel_again(&node, &uids);
        }
    }
}

impl Tasks {
    async fn news_of(&self, backlog: &Backlog, node: &NodeId) -> Vec<(u64, NodeTaskState)> {
        let (mut news, mut after) = (Vec::new(), None);
        for _ in 0..CALLS {
            let asked = backlog.oldest_on(node, after, TASKS_PER_CALL);
            let Some(last) = asked.last() else { break };
            after = Some(*last);
            let Some(states) = self.ask_of(node, &asked).await else { break };
            let ended = states.iter().filter(|(_, state)| state.status.is_final()).count();
            news.extend(states);
            // What comes after tasks that have not ended has not, either, or will soon be among the oldest.
            if asked.len() < TASKS_PER_CALL || ended < asked.len() / 2 {
                break;
            }
        }
        news
    }

    async fn ask_of(&self, node: &NodeId, uids: &[u64]) -> Option<Vec<(u64, NodeTaskState)>> {
        match self.state.node(node)?.these_tasks(uids, self.state.read_timeout()).await {
            Ok(tasks) => Some(complete(uids, tasks)),
            Err(ResponseError::Unanswered(error)) => {
                tracing::debug!(%node, %error, "a node does not report its tasks");
                None
            }
            Err(error) => {
                tracing::warn!(%node, %error, "a node does not report its tasks");
                None
            }
        }
    }

    async fn cancel_on_node(&self, node: &NodeId, uids: &[u64]) -> bool {
        let Some(known) = self.state.node(node) else { return false };
        let path = format!("/tasks/cancel?uids={}", comma_separated(uids));
        match known.ask(Call::bare("cancel_tasks", Method::POST, path, self.state.read_timeout())).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%node, %error, "a node does not cancel tasks");
                false
            }
        }
    }
}

/// A task that a live node does not know is lost: the node came back with another disk.
fn complete(uids: &[u64], tasks: Vec<TaskResponse>) -> Vec<(u64, NodeTaskState)> {
    let mut states: std::collections::BTreeMap<u64, NodeTaskState> =
        tasks.into_iter().map(|task| (task.uid, state_of(task))).collect();
    uids.iter().map(|uid| (*uid, states.remove(uid).unwrap_or_else(NodeTaskState::lost))).collect()
}

fn state_of(task: TaskResponse) -> NodeTaskState {
    NodeTaskState {
        status: task.status,
        error: task.error,
        deleted_documents: task.details.and_then(|details| details.deleted_documents),
        started_at: task.started_at,
        finished_at: task.finished_at,
    }
}
