//! `/_miroir/stale` and `/_miroir/nodes`: what is stale, how far its healing is, and what is fresh at an operator's word.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::id::{NodeId, ShardId};
use serde_json::{Value, json};

use super::admin::{node_view, replicas_on};
use super::body::Payload;
use super::error::Failure;
use super::object::{Object, missing, wrong_type};
use super::observe::undertaken;
use super::{Shared, index_uid, json};
use crate::cluster::{Error, Wanted};

/// The stale replicas, and the mirrors at work.
pub async fn stale(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.healing().await.map_err(Error::Store)?;
    let healing: Vec<Value> = healing
        .iter()
        .map(|(node, healing)| json!({ "node": node, "healed": healing.healed, "mirrors": healing.mirrors }))
        .collect();
    Ok(json(StatusCode::OK, json!({ "stale": cluster.stale_replicas(), "healing": healing }).to_string()))
}

/// `{"node":"a","index":"movies","shards":[3],"acceptDataLoss":true}`; of an index and of shards only where they are named.
pub async fn promote(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let wanted = wanted(&Object::read(&mut payload).await?)?;
    let promotion = undertaken(&cluster, move |writer| async move { writer.promote(&wanted).await }).await?;
    let answer = serde_json::to_string(&promotion).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json(StatusCode::OK, answer))
}

fn wanted(request: &Object) -> Result<Wanted, Failure> {
    request.only(&["node", "index", "shards", "acceptDataLoss"])?;
    let node = NodeId::new(request.text("node")?);
    let index = request.get("index").map(|_| request.text("index")).transpose()?.map(index_uid).transpose()?;
    let shards = request.get("shards").map(|value| {
        let numbers = value.as_array().into_iter().flatten();
        let shards: Option<BTreeSet<ShardId>> =
            numbers.map(|number| number.as_u64().and_then(|n| u32::try_from(n).ok()).map(ShardId)).collect();
        shards.filter(|shards| !shards.is_empty()).ok_or_else(|| wrong_type("shards", "numbers of shards", value))
    });
    let shards = shards.transpose()?;
    if shards.is_some() && index.is_none() {
        return Err(missing("index"));
    }
    if request.flag("acceptDataLoss")? != Some(true) {
        let problem = "expected true: what the replica lacks, and only replicas hold that cannot be reached, is lost";
        return Err(request.invalid("acceptDataLoss", &problem));
    }
    Ok(Wanted { node, index, shards })
}

/// The nodes as this instance sees them; `healing` is none for those that are not healed.
pub async fn nodes(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.healing().await.map_err(Error::Store)?;
    let topology = cluster.topology();
    let stale = cluster.stale_replicas();
    let view = |node: &std::sync::Arc<crate::node::Node>| {
        let id = &node.member.id;
        let mut view = node_view(node, replicas_on(&topology, node, &cluster));
        view["staleReplicas"] = stale.iter().filter(|replica| replica.node == *id).count().into();
        view["healing"] = json!(healing.get(id));
        view
    };
    let nodes: Vec<Value> = cluster.nodes().values().map(view).collect();
    Ok(json(StatusCode::OK, json!({ "nodes": nodes }).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_names_a_node_and_accepts_what_it_costs() {
        let read = |value: Value| Object::of(value, String::new()).and_then(|object| wanted(&object));
        let all = read(json!({ "node": "a", "acceptDataLoss": true })).expect("a request");
        assert_eq!((all.node, all.index, all.shards), (NodeId::new("a"), None, None));
        let some =
            read(json!({ "node": "a", "index": "m", "shards": [3, 1], "acceptDataLoss": true })).expect("a request");
        assert_eq!(some.shards, Some([ShardId(1), ShardId(3)].into()));
        for wrong in [
            json!({ "acceptDataLoss": true }),
            json!({ "node": "a" }),
            json!({ "node": "a", "acceptDataLoss": false }),
            json!({ "node": "a", "acceptDataLoss": "yes" }),
            json!({ "node": "a", "shards": [1], "acceptDataLoss": true }),
            json!({ "node": "a", "index": "m", "shards": [], "acceptDataLoss": true }),
            json!({ "node": "a", "index": "m", "shards": [-1], "acceptDataLoss": true }),
            json!({ "node": "a", "index": "m", "shards": 1, "acceptDataLoss": true }),
            json!({ "node": "a", "indexes": ["m"], "acceptDataLoss": true }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
