//! What the nodes hold, past the orchestrator: whether replicas are the same, and where they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::client::Client;
use crate::cluster::Cluster;

/// Our field that tells shards apart.
const SHARD: &str = "_miroir_shard";

/// The documents that one node holds of an index, by shard (as it is written) and id.
pub type Held = BTreeMap<String, BTreeMap<String, Value>>;

/// What a node holds of an index, all fields of ours included; nothing where it has no such index.
///
/// # Panics
/// When it cannot be read.
pub fn held(node: &Client, index: &str) -> Held {
    let mut held = Held::new();
    if node.get(&format!("/indexes/{index}")).status == 404 {
        return held;
    }
    for document in node.documents(index) {
        let text = |field: &str| document[field].as_str().map_or_else(|| document[field].to_string(), str::to_owned);
        held.entry(text(SHARD)).or_default().insert(text("id"), document);
    }
    held
}

/// A document without what is ours.
pub fn plain(document: &Value) -> Value {
    let fields = document.as_object().cloned().unwrap_or_default();
    let ours = |name: &String| name.starts_with("_miroir_");
    Value::Object(fields.into_iter().filter(|(name, _)| !ours(name)).collect::<Map<_, _>>())
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

/// Every shard that has documents is on `copies` of these nodes, each with the same documents, and the documents
/// together are these, by id, but for those of which nobody knows. Returns how many documents each node holds.
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
    let all: Vec<Held> = nodes.iter().map(|node| held(&cluster.node_client(*node), index)).collect();
    let shards: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for shard in shards {
        let replicas: Vec<(usize, &BTreeMap<String, Value>)> =
            nodes.iter().zip(&all).filter_map(|(node, held)| Some((*node, held.get(shard)?))).collect();
        let holders: Vec<usize> = replicas.iter().map(|(node, _)| *node).collect();
        assert_eq!(holders.len(), copies, "shard {shard} is on the nodes {holders:?}");
        let first = replicas[0].1;
        for (node, other) in &replicas[1..] {
            let differing = first.keys().chain(other.keys()).find(|id| first.get(*id) != other.get(*id));
            if let Some(id) = differing {
                panic!("node {}: {:?}\nnode {node}: {:?}", replicas[0].0, first.get(id), other.get(id));
            }
        }
        found.extend(first.iter().map(|(id, document)| (id.clone(), plain(document))));
    }
    for (id, document) in expected {
        assert_eq!(found.get(id).map(rounded), Some(rounded(document)), "document {id} of {index}");
    }
    if let Some(more) = found.keys().find(|id| !expected.contains_key(*id) && !unsure.contains(*id)) {
        panic!("{more} should not be there: {:?}", found.get(more));
    }
    all.iter().map(|held| held.values().map(BTreeMap::len).sum()).collect()
}
