//! Erasing: shards are deleted from a node that is not to hold them, and so are whole indexes that are not what they should
//! be there.
//!
//! Whoever erases on a node holds the lease `erase:<node>`, has read the topology under it, and sends its deletions within
//! [`SEND_WITHIN`] of the last time that the store said that the lease is still its own: the body of a request that comes
//! to be sent later is not sent to its end, and a node does nothing of it. The lease goes on beyond that for as long as what
//! was sent may be on its way. Whoever changes the topology so that a node comes to hold something writes that under the
//! same lease (`grants`): so an instance that was suspended, and wakes long after the others have evicted it, cannot
//! delete what the node has come to own since.
//!
//! Invariant: a topology that gives a node shards is written only when no deletion from it can arrive any more. What
//! remains is a process that is stopped between its last look at the time and the system call that follows it, for longer
//! than the lease, and a network that delivers later than `write.node_timeout_ms`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::membership::topology::Topology;
use miroir_node::{Call, Node, Reply};
use miroir_store::{Fence, Lease, StoreError};
use tokio::time::Instant;

use crate::write::access::{Failed, OnNode};
use crate::{Index, Writes};

/// From when the store was asked until the last byte of a deletion has left.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// For a change of the topology, from when it is decided upon until it is written.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The right to delete from a node what it is not to hold.
pub struct Erasing<'a> {
    writes: &'a Writes,
    node: NodeId,
    lease: Lease,
    topology: Arc<Topology>,
    /// What was sent and not answered may arrive.
    unanswered: AtomicBool,
}

fn scope_of(node: &NodeId) -> String {
    format!("erase:{node}")
}

/// The nodes that come to hold something by the second of two topologies.
fn gaining(before: &Topology, after: &Topology) -> BTreeSet<NodeId> {
    let mut gaining = BTreeSet::new();
    for (shards, _) in after.all_placements() {
        for shard in (0..shards.get()).map(ShardId) {
            let new = after.writers(shards, shard).into_iter().filter(|node| !before.takes_writes(shards, shard, node));
            gaining.extend(new.cloned());
        }
    }
    gaining
}

impl Writes {
    /// Take the right to delete from a node. Returns `None` if another eraser has it, or a leader is
    /// giving the node shards: the caller tries again later.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(crate) async fn erasing(&self, node: &NodeId) -> Result<Option<Erasing<'_>>, StoreError> {
        /// Each has a name of its own: two of one instance are as much two as those of different ones.
        static ERASERS: AtomicU64 = AtomicU64::new(0);
        let holder = format!("{}/{}", self.state.peers.me(), ERASERS.fetch_add(1, Ordering::Relaxed));
        let Some(lease) = self.state.store.acquire(&scope_of(node), &holder, self.erasing_lasts()).await? else {
            return Ok(None);
        };
        // Only now: what others have written by then is seen, and from then on nobody gives the node anything.
        if self.state.store.is_shared() {
            self.state.fleet.follow_everything().await?;
        }
        let unanswered = AtomicBool::new(false);
        Ok(Some(Erasing { writes: self, node: node.clone(), lease, topology: self.state.topology(), unanswered }))
    }

    /// What was sent may arrive for as long as any write.
    fn erasing_lasts(&self) -> Duration {
        SEND_WITHIN + self.state.write_timeout()
    }

    /// The conditions under which the second topology may take the first one's place: nothing is deleted from the nodes that
    /// come to hold something. Returns `None` as long as something may be: the caller decides anew later. `leader` is
    /// whoever is alone in writing topologies.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(crate) async fn grants(
        &self,
        leader: &Fence,
        before: &Topology,
        after: &Topology,
    ) -> Result<Option<Vec<Fence>>, StoreError> {
        let holder = format!("{}/{}", leader.scope, leader.token);
        let mut fences = Vec::new();
        for node in gaining(before, after) {
            match self.state.store.acquire(&scope_of(&node), &holder, WRITE_WITHIN).await? {
                Some(lease) => fences.push(lease.fence()),
                None => {
                    tracing::info!(%node, "the topology waits for what is being deleted from a node");
                    return Ok(None);
                }
            }
        }
        Ok(Some(fences))
    }
}

impl Erasing<'_> {
    /// Whether the node is to hold a shard.
    pub fn is_to_hold(&self, index: &Index, shard: ShardId) -> bool {
        self.topology.takes_writes(index.shards, shard, &self.node)
    }

    /// Delete all documents of these shards from the node. Returns the node's task.
    ///
    /// # Errors
    /// [`Failed`]; [`Failed::Refused`], and nothing was sent, when the node is to hold one of them.
    pub async fn delete_shards(&self, on: &OnNode, shards: &[ShardId]) -> Result<u64, Failed> {
        if let Some(shard) = shards.iter().find(|shard| self.is_to_hold(on.index(), **shard)) {
            return Err(Failed::Refused(format!("{} is to hold shard {shard}", self.node)));
        }
        self.tell(on, on.shards_deletion(shards)).await
    }

    /// Have the node delete something, while nobody else has the right to it. Returns the node's task.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn tell(&self, on: &OnNode, call: Call) -> Result<u64, Failed> {
        let call = self.in_time(call).await?;
        let told = on.tell(call).await;
        if matches!(told, Err(Failed::Unanswered(_))) {
            self.unanswered.store(true, Ordering::Release);
        }
        told
    }

    /// The same, for whoever wants to know what the node says.
    ///
    /// # Errors
    /// [`Failed::Unanswered`].
    pub async fn ask(&self, node: &Node, call: Call) -> Result<Reply, Failed> {
        let call = self.in_time(call).await?;
        let reply = node.call(call).await;
        // Somebody before the node may have said that it did not get it.
        if reply.as_ref().map_or_else(|error| !error.is_connect(), |reply| reply.status >= 500) {
            self.unanswered.store(true, Ordering::Release);
        }
        reply.map_err(|error| Failed::Unanswered(error.to_string()))
    }

    /// The call, not to be sent when the right to it has ended.
    async fn in_time(&self, mut call: Call) -> Result<Call, Failed> {
        let asked = Instant::now();
        match self.writes.state.store.renew(&self.lease, self.writes.erasing_lasts()).await {
            Ok(true) => {}
            Ok(false) => return Err(Failed::Unanswered("the right to delete was lost".into())),
            Err(error) => return Err(Failed::Unanswered(error.to_string())),
        }
        call.body.send_by(asked + SEND_WITHIN);
        Ok(call)
    }

    /// Give the right back, unless something may still arrive: then it ends by itself when nothing can. So it does when the
    /// deletion is given up half way.
    pub async fn done(self) {
        if !self.unanswered.load(Ordering::Acquire)
            && let Err(error) = self.writes.state.store.release(&self.lease).await
        {
            tracing::debug!(%error, node = %self.node, "the right to delete could not be given back; it ends by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Cluster;
    use std::num::NonZeroU32;

    use miroir_core::base::id::GroupId;
    use miroir_core::membership::topology::Member;
    use miroir_node::testing::FakeNode;
    use miroir_store::{Batch, SqliteStore, Store};

    use super::*;
    use crate::testing::instance_of;

    const LONG: Duration = Duration::from_secs(60);

    fn leader(token: u64) -> Fence {
        Fence { scope: "rebalance".into(), holder: "leader".into(), token }
    }

    async fn on_a_stub() -> (Arc<Cluster>, FakeNode, Arc<dyn Store>) {
        let (node, store) = (FakeNode::start(), SqliteStore::open(":memory:").await.expect("a store"));
        (instance_of(store.clone(), &node.address).await, node, store)
    }

    fn index() -> Arc<Index> {
        let uid: miroir_core::base::id::IndexUid = "films".parse().expect("a uid");
        Arc::new(Index::new(uid.clone(), uid, None, NonZeroU32::new(2).expect("not zero")))
    }

    /// The same, and another node that holds everything as well.
    fn with_another(topology: &Topology) -> Topology {
        let mut shape = topology.shape.clone();
        shape.members.push(Member { id: NodeId::new("b"), address: "http://b".into(), group: GroupId(1) });
        Topology::new(shape).with_placement(NonZeroU32::new(2).expect("not zero")).expect("new")
    }

    #[tokio::test]
    async fn a_node_is_given_nothing_while_somebody_deletes_from_it() {
        let (cluster, _node, store) = on_a_stub().await;
        let (before, b) = (cluster.state.topology(), NodeId::new("b"));
        let after = with_another(&before);
        assert_eq!(gaining(&before, &after), BTreeSet::from([b.clone()]));
        let erasing = cluster.writes.erasing(&b).await.expect("asked").expect("free");
        assert!(cluster.writes.erasing(&b).await.expect("asked").is_none(), "two delete from one node");
        assert_eq!(cluster.writes.grants(&leader(1), &before, &after).await.expect("asked"), None);
        assert_eq!(
            cluster.writes.grants(&leader(1), &after, &before).await.expect("asked"),
            Some(Vec::new()),
            "it gives nothing"
        );
        erasing.done().await;

        let grants = cluster.writes.grants(&leader(1), &before, &after).await.expect("asked").expect("nobody deletes");
        assert_eq!(grants.len(), 1);
        assert!(cluster.writes.erasing(&b).await.expect("asked").is_none(), "it is about to be given something");
        let again = cluster.writes.grants(&leader(1), &before, &after).await.expect("asked");
        assert_eq!(again.as_ref(), Some(&grants), "one leader writes one topology after the other");
        assert_eq!(cluster.writes.grants(&leader(2), &before, &after).await.expect("asked"), None);
        store.commit(Batch { fences: grants, ..Batch::default() }).await.expect("held");
    }

    #[tokio::test]
    async fn nothing_is_deleted_that_the_node_is_to_hold() {
        let (cluster, node, _store) = on_a_stub().await;
        let a = NodeId::new("a");
        let on = cluster.writes.on_node(&index(), &a).expect("a member");
        let erasing = cluster.writes.erasing(&a).await.expect("asked").expect("free");
        let refused = erasing.delete_shards(&on, &[ShardId(7), ShardId(1)]).await;
        assert!(matches!(refused, Err(Failed::Refused(_))), "{refused:?}");
        assert_eq!(node.asked(), Vec::<String>::new());
        assert_eq!(erasing.delete_shards(&on, &[ShardId(7)]).await, Ok(1));
        assert_eq!(node.asked(), ["POST /indexes/films/documents/delete"]);
        erasing.done().await;
        assert!(cluster.writes.erasing(&a).await.expect("asked").is_some(), "it was not given back");
    }

    #[tokio::test]
    async fn whoever_has_lost_the_right_to_delete_sends_nothing() {
        let (cluster, node, store) = on_a_stub().await;
        let a = NodeId::new("a");
        let on = cluster.writes.on_node(&index(), &a).expect("a member");
        let erasing = cluster.writes.erasing(&a).await.expect("asked").expect("free");
        // As after a long suspension: somebody else has it by now.
        store.release(&erasing.lease).await.expect("released");
        store.acquire(&scope_of(&a), "somebody else", LONG).await.expect("asked").expect("free");
        let lost = erasing.delete_shards(&on, &[ShardId(7)]).await;
        assert!(matches!(lost, Err(Failed::Unanswered(_))), "{lost:?}");
        let delete = on.shards_deletion(&[ShardId(7)]);
        let mut late = delete.clone();
        late.body.send_by(Instant::now() - Duration::from_secs(1));
        assert!(on.tell(late).await.is_err(), "sent after it was to be sent");
        assert_eq!(node.asked(), Vec::<String>::new());
        assert_eq!(on.tell(delete).await, Ok(1), "the node is not there at all");
    }

    #[tokio::test]
    async fn what_may_still_arrive_keeps_everybody_else_waiting() {
        let store = SqliteStore::open(":memory:").await.expect("a store");
        let node = FakeNode::answering(|_, _| (http::StatusCode::BAD_GATEWAY, serde_json::json!({})));
        let cluster = instance_of(store, &node.address).await;
        let a = NodeId::new("a");
        let on = cluster.writes.on_node(&index(), &a).expect("a member");
        let erasing = cluster.writes.erasing(&a).await.expect("asked").expect("free");
        assert!(erasing.delete_shards(&on, &[ShardId(7)]).await.is_err());
        erasing.done().await;
        assert!(
            cluster.writes.erasing(&a).await.expect("asked").is_none(),
            "somebody before the node may deliver it later"
        );
    }
}
