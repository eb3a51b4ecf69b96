//! `/_miroir/stale` and `/_miroir/nodes`: what is stale, how far its healing is, and what is fresh at an operator's word.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_api::{ErrorBody, HealedNode, Healing, Nodes, Promote, Promotion, Stale};
use miroir_cluster::{Error, StaleReplica, Wanted};
use miroir_core::base::id::{NodeId, ShardId};

use super::admin::{node_view, replicas_on};
use super::body::Payload;
use super::error::Failure;
use super::object::{Object, invalid, missing, wrong_type};
use super::observe::undertaken;
use super::openapi::{Refused, RefusedBody};
use super::{Shared, index_uid, shown};

/// What is stale, and how far its healing is
#[utoipa::path(
    get,
    path = "/_miroir/stale",
    operation_id = "stale",
    tag = "cluster",
    responses((status = 200, description = "The stale replicas, and the mirrors at work.", body = Stale), Refused),
)]
pub async fn stale(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.replicas.healing().await.map_err(Error::Store)?;
    let healing = healing.into_iter().map(|(node, healing)| Healing { node: node.to_string(), healing }).collect();
    let stale = cluster.state.stale_replicas().iter().map(StaleReplica::view).collect();
    shown(StatusCode::OK, &Stale { stale, healing })
}

/// Take stale replicas for fresh, where no fresh one can be reached
///
/// What they lack is lost: the last resort where every fresh replica is gone for good.
#[utoipa::path(
    post,
    path = "/_miroir/stale/promote",
    operation_id = "promote",
    tag = "cluster",
    request_body = Promote,
    responses(
        (status = 200, description = "What is fresh now, and what is not.", body = Promotion),
        RefusedBody,
        (
            status = 404,
            description = "There is no such node or index (`miroir_node_not_found`, `index_not_found`).",
            body = ErrorBody,
        ),
        (status = 409, description = "Nothing of it could be promoted (`miroir_conflict`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn promote(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let wanted = wanted(read(&Object::read(&mut payload).await?)?)?;
    let promotion =
        undertaken(&cluster, move |cluster, _| async move { cluster.replicas.promote(&wanted).await }).await?;
    shown(StatusCode::OK, &promotion)
}

fn read(request: &Object) -> Result<Promote, Failure> {
    request.only(&["node", "index", "shards", "acceptDataLoss"])?;
    let node = request.text("node")?.to_owned();
    let index = request.optional_text("index")?;
    let shards = request.get("shards").map(|value| {
        let numbers = value.as_array().into_iter().flatten();
        let shards: Option<Vec<u32>> =
            numbers.map(|number| number.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
        shards.filter(|shards| !shards.is_empty()).ok_or_else(|| wrong_type("shards", "numbers of shards", value))
    });
    let shards = shards.transpose()?;
    if shards.is_some() && index.is_none() {
        return Err(missing("index"));
    }
    if request.flag("acceptDataLoss")? != Some(true) {
        let problem = "expected true: what the replica lacks, and only replicas hold that cannot be reached, is lost";
        return Err(invalid(".acceptDataLoss", &problem));
    }
    Ok(Promote { node, index, shards, accept_data_loss: true })
}

fn wanted(request: Promote) -> Result<Wanted, Failure> {
    let Promote { node, index, shards, accept_data_loss: _ } = request;
    Ok(Wanted {
        node: NodeId::new(node),
        index: index.map(|uid| index_uid(&uid)).transpose()?,
        shards: shards.map(|shards| shards.into_iter().map(ShardId).collect()),
    })
}

/// The nodes, what is stale on them and how far their healing is
#[utoipa::path(
    get,
    path = "/_miroir/nodes",
    operation_id = "nodes",
    tag = "cluster",
    responses((status = 200, description = "The nodes, as the instance that answers sees them.", body = Nodes), Refused),
)]
pub async fn nodes(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.replicas.healing().await.map_err(Error::Store)?;
    let topology = cluster.state.topology();
    let stale = cluster.state.stale_replicas();
    let view = |node: &std::sync::Arc<miroir_node::Node>| {
        let id = &node.member.id;
        HealedNode {
            node: node_view(node, replicas_on(&topology, node, &cluster)),
            stale_replicas: stale.iter().filter(|replica| replica.node == *id).count() as u64,
            healing: healing.get(id).cloned(),
        }
    };
    shown(StatusCode::OK, &Nodes { nodes: cluster.state.nodes().values().map(view).collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_promotion_names_a_node_and_accepts_what_it_costs() {
        let read = |value: Value| Object::of(value, String::new()).and_then(|object| read(&object));
        let all = Promote { node: "a".into(), index: None, shards: None, accept_data_loss: true };
        let some = Promote { index: Some("m".into()), shards: Some(vec![3, 1]), ..all.clone() };
        for request in [all, some] {
            assert_eq!(read(serde_json::to_value(&request).expect("JSON")).expect("a request"), request);
        }
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
