//! What each node has to do of a change, and how it takes it.

use miroir_core::base::error::ErrorBody;
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::write::quorum::ReplicaAnswer;
use miroir_core::write::task::{NodeTask, TaskStatus};
use miroir_node::{Call, NodeError, Reply};

use crate::Writes;
use crate::state::index_lock::{ANSWERED, IndexGuard, all_last, any_lost};

/// What one node has to do, in order.
pub struct NodePart {
    /// The node that is told.
    pub node: NodeId,
    /// Sent one after the other; the first that is not accepted ends the part.
    pub steps: Vec<Step>,
}

/// One request of a part.
#[derive(Clone)]
pub struct Step {
    /// What is sent.
    pub call: Call,
    /// The shards whose replicas it changes; empty: the index as a whole.
    pub shards: Vec<ShardId>,
}

/// How a node took its part.
pub struct PartOutcome {
    /// The node that was told.
    pub node: NodeId,
    /// What it amounts to.
    pub answer: ReplicaAnswer,
    /// What became of each step, and the shards that it changes.
    pub steps: Vec<(Vec<ShardId>, ReplicaAnswer)>,
    /// What it accepted.
    pub tasks: Vec<NodeTask>,
    /// What it did not want.
    pub refusal: Option<Reply>,
    /// Something may have arrived.
    pub reached: bool,
}

impl PartOutcome {
    /// Of a part that may be there.
    pub fn unknown(node: NodeId) -> Self {
        Self { answer: ReplicaAnswer::Ambiguous, reached: true, ..Self::nothing_yet(node) }
    }

    fn nothing_yet(node: NodeId) -> Self {
        let (answer, steps, tasks) = (ReplicaAnswer::Accepted, Vec::new(), Vec::new());
        Self { node, answer, steps, tasks, refusal: None, reached: false }
    }

    /// What it says of replicas.
    pub fn kept(&self) -> Self {
        let Self { node, answer, steps, tasks, reached, .. } = self;
        let (answer, steps, tasks) = (*answer, steps.clone(), tasks.clone());
        Self { answer, steps, tasks, reached: *reached, ..Self::nothing_yet(node.clone()) }
    }

    /// What it amounts to for a shard: as the steps went that change it, or the index as a whole.
    pub fn answer_for(&self, shard: ShardId) -> ReplicaAnswer {
        if self.steps.is_empty() {
            return self.answer;
        }
        let concern = |(shards, _): &&(Vec<ShardId>, ReplicaAnswer)| shards.is_empty() || shards.contains(&shard);
        let amiss = self.steps.iter().filter(concern).find(|(_, answer)| *answer != ReplicaAnswer::Accepted);
        amiss.map_or(ReplicaAnswer::Accepted, |(_, answer)| *answer)
    }
}

impl Writes {
    /// Send a node its part, under these guards.
    pub(crate) async fn carry_out(&self, guards: &[IndexGuard], part: &NodePart) -> PartOutcome {
        let mut outcome = PartOutcome::nothing_yet(part.node.clone());
        let mut steps = part.steps.iter();
        for step in steps.by_ref() {
            // What an instance sends that has lost the lock may arrive after what the next holder sends.
            let answer = match guards.iter().all(IndexGuard::lasts) {
                true => self.take_step(guards, &part.node, step, &mut outcome).await,
                false => ReplicaAnswer::Missed,
            };
            outcome.steps.push((step.shards.clone(), answer));
            if answer != ReplicaAnswer::Accepted {
                outcome.answer = answer;
                break;
            }
        }
        // Nothing of them has left.
        outcome.steps.extend(steps.map(|step| (step.shards.clone(), ReplicaAnswer::Missed)));
        outcome
    }

    async fn take_step(
        &self,
        guards: &[IndexGuard],
        node: &NodeId,
        step: &Step,
        outcome: &mut PartOutcome,
    ) -> ReplicaAnswer {
        let before = self.state.node(node).and_then(|node| node.newest_task());
        // When a lock is lost, sending stops soon after.
        let lost = async {
            any_lost(guards).await;
            tokio::time::sleep(ANSWERED).await;
        };
        let mut call = step.call.clone();
        call.body.send_while(all_last(guards));
        let sent = tokio::select! {
            biased;
            sent = self.send_write(node, call) => sent,
            () = lost => Err(NodeError::Lost("the write lock of the index was lost".into())),
        };
        let reply = match sent {
            Ok(reply) => reply,
            Err(error) if error.never_left() => return ReplicaAnswer::Missed,
            Err(error) => {
                outcome.reached = true;
                tracing::warn!(%node, %error, "a node's answer to a write was lost");
                return ReplicaAnswer::Ambiguous;
            }
        };
        outcome.reached = true;
        match reply.task().filter(|_| reply.status == 202) {
            // The node has another disk than before: nobody knows what becomes of the write.
            Some(uid) if !self.has_accepted(node, uid, before) => ReplicaAnswer::Ambiguous,
            Some(uid) => {
                outcome.tasks.push(NodeTask {
                    node: node.clone(),
                    uid,
                    shards: step.shards.clone(),
                    status: TaskStatus::Enqueued,
                    error: None,
                    deleted_documents: None,
                });
                ReplicaAnswer::Accepted
            }
            None => {
                let (status, body) = (reply.status, reply.shown());
                if !is_refusal(&reply) {
                    tracing::warn!(%node, status, %body, "a node did not accept a write");
                    return ReplicaAnswer::Ambiguous;
                }
                // Most often the client's error, which it is told; where others accept it, the replica is stale.
                match status {
                    401 | 403 => tracing::warn!(%node, status, %body, "a node does not know the key of nodes"),
                    _ => tracing::info!(%node, status, %body, "a node refused a write"),
                }
                outcome.refusal = Some(reply);
                ReplicaAnswer::Missed
            }
        }
    }

    /// Record a node's new task. Returns false when it cannot be one.
    fn has_accepted(&self, node: &NodeId, task: u64, before: Option<u64>) -> bool {
        self.state.node(node).is_none_or(|node| node.accepted(task, before))
    }

    /// A connect failure is tried once more: nothing can have arrived.
    async fn send_write(&self, node: &NodeId, call: Call) -> Result<Reply, NodeError> {
        let Some(known) = self.state.node(node).filter(|node| node.health.state().is_live()) else {
            return Err(NodeError::Connect(format!("node {node} is not live")));
        };
        let result = match known.call(call.clone()).await {
            Err(error) if error.is_connect() && known.health.state().is_live() => known.call(call).await,
            result => result,
        };
        if let Err(error @ NodeError::Timeout(_)) = &result {
            // So that those who wait behind this one need not all find out for themselves.
            known.health.check_failed(&error.to_string());
        }
        result
    }
}

/// The node itself has looked at it and will have none of it: it says so in Meilisearch's words. Whatever stands before a
/// node may say anything else, about a request that it has passed on; and who had no time may have had enough of it.
fn is_refusal(reply: &Reply) -> bool {
    #[derive(serde::Deserialize)]
    struct Worded {
        #[serde(rename = "code")]
        _code: String,
    }
    let about_the_request = (400..500).contains(&reply.status) && !matches!(reply.status, 408 | 429);
    about_the_request && serde_json::from_slice::<Worded>(&reply.body).is_ok()
}

/// Every node that was reached refused, with the same code, and none took any part. `is_swept`: what nodes took before they
/// refused is of an index that does not come into being, and is deleted with it.
pub fn unanimous_refusal(outcomes: &[PartOutcome], is_swept: bool) -> Option<&Reply> {
    let code = |reply: &Reply| serde_json::from_slice::<ErrorBody>(&reply.body).map(|body| body.code).ok();
    let mut refusals = outcomes.iter().filter_map(|outcome| outcome.refusal.as_ref());
    let first = refusals.next()?;
    let first_code = code(first);
    let alike = refusals.all(|reply| reply.status == first.status && code(reply) == first_code);
    let nobody_else = outcomes.iter().all(|o| (is_swept || o.tasks.is_empty()) && o.answer == ReplicaAnswer::Missed);
    let refused_for_good = !matches!(first_code.as_deref(), Some("invalid_api_key" | "missing_authorization_header"));
    (alike && nobody_else && refused_for_good).then_some(first)
}
