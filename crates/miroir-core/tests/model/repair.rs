//! A pass of anti-entropy, at the depth of content, while nobody writes: as in a write pause.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::replica::anti_entropy::{ToRepair, after_digests, repairs, suspects};
use miroir_core::replica::digest::{Depth, Digest, Version, bucket_of};

use crate::node::{Op, copied};
use crate::world::World;

/// Repair what differs among fresh replicas. Returns how many documents were touched.
pub fn pass(world: &mut World) -> Result<u64, String> {
    world.nodes.values_mut().for_each(|node| *node = node.drained());
    let mut touched = 0;
    for shard in world.all_shards() {
        let listings = listings(world, shard);
        let suspects = suspects(&listings, world.now);
        looked_into(world, shard, &suspects)?;
        let of = |id: &String| -> BTreeMap<NodeId, Option<Version>> {
            listings.iter().map(|(node, listing)| (node.clone(), listing.get(id).copied())).collect()
        };
        let read = suspects.iter().map(|id| (id.clone(), of(id))).collect();
        if let ToRepair::Repair(found) = repairs(&read, world.now, true) {
            touched += found.documents as u64;
            for (node, ids) in found.delete {
                hand(world, &node, Op::Remove(ids.into_iter().collect()));
            }
            for (node, sources) in found.put {
                for (source, ids) in sources {
                    let of_source = listings[&source].keys().filter(|id| ids.contains(*id));
                    let documents =
                        of_source.filter_map(|id| Some((id.clone(), world.nodes[&source].get(id)?.clone())));
                    let op = Op::Insert(documents.collect());
                    hand(world, &node, op);
                }
            }
        }
    }
    world.nodes.values_mut().for_each(|node| *node = node.drained());
    Ok(touched)
}

fn hand(world: &mut World, node: &NodeId, op: Op) {
    if let Some(node) = world.nodes.get_mut(node) {
        node.accept(op);
    }
}

fn listings(world: &World, shard: ShardId) -> BTreeMap<NodeId, BTreeMap<String, Version>> {
    let listing = |node: &NodeId| {
        let documents = world.nodes[node].of(shard).map(|document| copied(document, Depth::Content));
        documents.map(|document| (document.id, document.version)).collect()
    };
    let fresh = world.replicas(shard).into_iter().filter(|node| world.is_fresh(shard, node));
    fresh.map(|node| (node.clone(), listing(&node))).collect()
}

/// Whatever differs is in a bucket that differs.
fn looked_into(world: &World, shard: ShardId, suspects: &BTreeSet<String>) -> Result<(), String> {
    let digest = |node: &NodeId| {
        let mut digest = Digest::default();
        world.nodes[node].of(shard).for_each(|document| digest.add(&copied(document, Depth::Content)));
        digest
    };
    let fresh = world.replicas(shard).into_iter().filter(|node| world.is_fresh(shard, node));
    let digests = fresh.map(|node| (node.clone(), digest(&node))).collect();
    let buckets: BTreeSet<u8> = after_digests(&digests).into_iter().map(|(bucket, _)| bucket).collect();
    let expected: BTreeSet<u8> = suspects.iter().map(|id| bucket_of(id)).collect();
    if buckets == expected { Ok(()) } else { Err(format!("buckets {buckets:?} differ, of {suspects:?}")) }
}
