//! What the nodes hold, past the orchestrator: whether replicas are the same, and where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use miroir_api::{ShardReplicas, Shards};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::wait;

/// Our field that tells shards apart.
const SHARD: &str = "_miroir_shard";

/// The documents that one node holds of an index, by id, as the node writes them: with vectors, and with our fields.
pub type Held = BTreeMap<String, Value>;

fn text(document: &Value, field: &str) -> String {
    document[field].as_str().map_or_else(|| document[field].to_string(), str::to_owned)
}

/// What a node holds of an index; nothing where it has no such index.
///
/// # Panics
/// When it cannot be read.
pub fn held(node: &Client, index: &str) -> Held {
    let mut held = Held::new();
    if node.get(&format!("/indexes/{index}")).status == 404 {
        return held;
    }
    let mut offset = 0;
    loop {
        let body = json!({ "offset": offset, "limit": 5000, "retrieveVectors": true });
        let page = node.post(&format!("/indexes/{index}/documents/fetch"), &body).expect(200);
        let Some(documents) = page.body["results"].as_array() else { panic!("{}", page.text) };
        if documents.is_empty() {
            return held;
        }
        offset += documents.len();
        held.extend(documents.iter().map(|document| (text(document, "id"), document.clone())));
    }
}

/// What each of the nodes holds of an index, our fields included.
///
/// # Panics
/// When one cannot be read.
pub fn all_held(cluster: &Cluster, index: &str) -> Vec<Held> {
    (0..cluster.nodes().len()).map(|node| held(&cluster.node_client(node), index)).collect()
}

/// A document as a client sent it: without what is ours, and without the place for vectors where there are none.
pub fn plain(document: &Value) -> Value {
    let fields = document.as_object().cloned().unwrap_or_default();
    let added = |name: &str, value: &Value| name.starts_with("_miroir_") || (name == "_vectors" && *value == json!({}));
    Value::Object(fields.into_iter().filter(|(name, value)| !added(name, value)).collect::<Map<_, _>>())
}

/// A node may write the last digit of a fraction otherwise than it was sent.
fn rounded(document: &Value) -> Value {
    match document {
        Value::Number(number) if number.is_f64() => format!("{:.12}", number.as_f64().unwrap_or_default()).into(),
        Value::Array(elements) => elements.iter().map(rounded).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => document.clone(),
    }
}

/// Every shard that has documents is on `copies` of these nodes, each with the same documents. Returns one copy of each
/// document, our fields included, and how many documents each node holds.
///
/// # Panics
/// When something differs; the message says what.
#[track_caller]
pub fn assert_alike(cluster: &Cluster, nodes: &[usize], index: &str, copies: usize) -> (Held, Vec<usize>) {
    let all: Vec<Held> = nodes.iter().map(|node| held(&cluster.node_client(*node), index)).collect();
    let sizes = all.iter().map(BTreeMap::len).collect();
    let mut shards: BTreeMap<String, BTreeMap<usize, Held>> = BTreeMap::new();
    for (node, held) in nodes.iter().zip(all) {
        for (id, document) in held {
            shards.entry(text(&document, SHARD)).or_default().entry(*node).or_default().insert(id, document);
        }
    }
    let mut found = Held::new();
    for (shard, mut replicas) in shards {
        assert_eq!(replicas.len(), copies, "shard {shard} is on the nodes {:?}", replicas.keys());
        let Some((node, first)) = replicas.pop_first() else { continue };
        for (other, replica) in replicas {
            if let Some(id) = first.keys().chain(replica.keys()).find(|id| first.get(*id) != replica.get(*id)) {
                panic!("node {node}: {:?}\nnode {other}: {:?}", first.get(id), replica.get(id));
            }
        }
        found.extend(first);
    }
    (found, sizes)
}

/// The shard that our field says; it is a number in eight digits that no tokenizer takes for letters.
fn shard_number(text: &str) -> u64 {
    const DIGITS: [char; 8] =
        ['\u{2055}', '\u{2056}', '\u{2058}', '\u{2059}', '\u{205A}', '\u{205B}', '\u{205C}', '\u{205D}'];
    text.chars()
        .filter_map(|c| DIGITS.iter().position(|digit| *digit == c))
        .fold(0, |sum, digit| sum * 8 + digit as u64)
}

/// Waits until an instance knows of every difference between replicas of an index, of which nothing is written meanwhile.
///
/// # Panics
/// When it does not within `bound`: in what two differ that are taken for fresh.
#[track_caller]
pub fn differences_become_known(cluster: &Cluster, instance: usize, index: &str, bound: Duration) {
    let mut difference = None;
    let known = wait::poll(bound, || {
        difference = unknown_difference(cluster, instance, index);
        difference.is_none().then_some(())
    });
    assert!(known.is_some(), "{}", difference.unwrap_or_default());
}

/// Whether every replica of every shard is equal to every other, or known as stale to an instance; nothing is written
/// meanwhile. If not: in what two differ that are taken for fresh.
fn unknown_difference(cluster: &Cluster, instance: usize, index: &str) -> Option<String> {
    let shards: Shards = cluster.instance(instance).admin().get("/_miroir/shards").expect(200).read();
    // Known before anything is looked at: what is healed meanwhile is equal from then on.
    let of_index = shards.stale.into_iter().filter(|replica| replica.index == index);
    let stale: BTreeSet<(u32, String)> = of_index.map(|replica| (replica.shard, replica.node)).collect();
    let held = all_held(cluster, index);
    let of_shard = |node: usize, shard: u32| -> Held {
        let of = |document: &Value| shard_number(&text(document, SHARD)) == u64::from(shard);
        held[node].iter().filter(|(_, document)| of(document)).map(|(id, it)| (id.clone(), it.clone())).collect()
    };
    for group in shards.groups {
        for ShardReplicas { shard, replicas } in group.shards {
            let is_fresh = |node: &&String| !stale.contains(&(shard, (*node).clone()));
            let fresh: Vec<&String> = replicas.iter().filter(is_fresh).collect();
            let number = |node: &str| node.trim_start_matches("node-").parse::<usize>().unwrap_or(usize::MAX);
            let Some((first, others)) = fresh.split_first() else { continue };
            let expected = of_shard(number(first), shard);
            for other in others {
                let found = of_shard(number(other), shard);
                if let Some(id) = expected.keys().chain(found.keys()).find(|id| expected.get(*id) != found.get(*id)) {
                    let (a, b) = (expected.get(id), found.get(id));
                    return Some(format!("{index}, shard {shard}, {id}: {first} has {a:?}, {other} has {b:?}"));
                }
            }
        }
    }
    None
}

/// Replicas are alike, and the documents together are these, by id, but for those of which nobody knows. Returns how
/// many documents each node holds.
///
/// # Panics
/// When something differs; the message says what.
#[track_caller]
pub fn assert_equal(
    cluster: &Cluster,
    nodes: &[usize],
    index: &str,
    copies: usize,
    (expected, unsure): &(BTreeMap<String, Value>, BTreeSet<String>),
) -> Vec<usize> {
    let (found, sizes) = assert_alike(cluster, nodes, index, copies);
    for (id, document) in expected {
        let found = found.get(id).map(|found| rounded(&plain(found)));
        assert_eq!(found, Some(rounded(document)), "document {id} of {index}");
    }
    if let Some(more) = found.keys().find(|id| !expected.contains_key(*id) && !unsure.contains(*id)) {
        panic!("{more} should not be there: {:?}", found.get(more));
    }
    sizes
}
