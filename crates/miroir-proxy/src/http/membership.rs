//! `/_miroir/nodes`, `/_miroir/groups`, `/_miroir/rebalance`: the membership, and its changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_api::{AddGroup, AddNode, Begun, ErrorBody, IntentTaken, NewNode, RebalanceStatus};
use miroir_cluster::{change_view, intent_view};
use miroir_core::base::error::Code;
use miroir_core::base::id::{GroupId, NodeId};
use miroir_core::config::{NodeUrl, NodeUrlError, node_id};
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::MembershipChange;
use miroir_work::led::Intent;

use super::body::Payload;
use super::error::Failure;
use super::object::{Object, invalid, missing, wrong_type};
use super::observe::undertaken;
use super::openapi::{OfNode, Refused, RefusedBody, RefusedChange};
use super::{Named, Shared, shown};

/// Nodes of one request to add a group.
const MOST_NODES: usize = 1024;

/// Add a node
///
/// It joins a group, and takes its share of its shards. It is asked who it is first.
#[utoipa::path(
    post,
    path = "/_miroir/nodes",
    operation_id = "addNode",
    tag = "membership",
    request_body = AddNode,
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        RefusedBody,
        (
            status = 400,
            description = "The request is not what it should be (`bad_request`), or a node does not fit: it does not answer, \
                is too old, takes another key, or holds indexes of its own (`miroir_node_unfit`).",
            body = ErrorBody,
        ),
        (status = 404, description = "There is no such group (`miroir_replica_group_not_found`).", body = ErrorBody),
        RefusedChange,
        Refused,
    ),
)]
pub async fn add_node(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let AddNode { id, address, replica_group } = read_node(&Object::read(&mut payload).await?)?;
    let group = match replica_group {
        Some(number) => GroupId(number),
        None => only_group(&cluster)?,
    };
    begin(&cluster, MembershipChange::AddNode { member: member(NewNode { id, address }, "", group)? }).await
}

/// Remove a node
///
/// Its shards move to the others of its group; it is a member no longer then.
#[utoipa::path(
    delete,
    path = "/_miroir/nodes/{id}",
    operation_id = "removeNode",
    tag = "membership",
    params(OfNode),
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        OfNode,
        RefusedChange,
        Refused,
    ),
)]
pub async fn remove_node(State(cluster): State<Shared>, Named(id): Named) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::RemoveNode { node: NodeId::new(id) }).await
}

/// Drain a node
///
/// Its shards move to the others of its group; it stays a member that holds nothing.
#[utoipa::path(
    post,
    path = "/_miroir/nodes/{id}/drain",
    operation_id = "drainNode",
    tag = "membership",
    params(OfNode),
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        OfNode,
        RefusedChange,
        Refused,
    ),
)]
pub async fn drain(State(cluster): State<Shared>, Named(id): Named) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Drain { node: NodeId::new(id) }).await
}

/// Give a drained node its share again
#[utoipa::path(
    post,
    path = "/_miroir/nodes/{id}/undrain",
    operation_id = "undrainNode",
    tag = "membership",
    params(OfNode),
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        OfNode,
        RefusedChange,
        Refused,
    ),
)]
pub async fn undrain(State(cluster): State<Shared>, Named(id): Named) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Undrain { node: NodeId::new(id) }).await
}

/// Add a replica group
///
/// It is filled from the others, and read once it holds everything.
#[utoipa::path(
    post,
    path = "/_miroir/groups",
    operation_id = "addGroup",
    tag = "membership",
    request_body = AddGroup,
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        RefusedBody,
        (
            status = 400,
            description = "The request is not what it should be (`bad_request`), or a node does not fit: it does not answer, \
                is too old, takes another key, or holds indexes of its own (`miroir_node_unfit`).",
            body = ErrorBody,
        ),
        RefusedChange,
        Refused,
    ),
)]
pub async fn add_group(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let AddGroup { replica_group, nodes } = read_group(&Object::read(&mut payload).await?)?;
    let next = || {
        let newest = cluster.state.topology().shape.groups().last().map_or(0, |group| group.0);
        newest.saturating_add(1)
    };
    let group = GroupId(replica_group.unwrap_or_else(next));
    let members = nodes.into_iter().enumerate().map(|(i, node)| member(node, &format!(".nodes[{i}]"), group));
    begin(&cluster, MembershipChange::AddGroup { group, members: members.collect::<Result<_, Failure>>()? }).await
}

/// Remove a replica group
///
/// It and its nodes are members no longer.
#[utoipa::path(
    delete,
    path = "/_miroir/groups/{id}",
    operation_id = "removeGroup",
    tag = "membership",
    params(("id" = u32, Path, description = "The number of the group.", example = 1)),
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        (status = 400, description = "This is no number of a group (`bad_request`).", body = ErrorBody),
        (status = 404, description = "There is no such group (`miroir_replica_group_not_found`).", body = ErrorBody),
        RefusedChange,
        Refused,
    ),
)]
pub async fn remove_group(State(cluster): State<Shared>, Named(id): Named) -> Result<Response, Failure> {
    let group = id.parse().map(GroupId).map_err(|_| {
        let shown: String = id.chars().take(40).collect();
        Failure::new(Code::BadRequest, format!("`{shown}` is no replica group: expected a number such as `1`."))
    })?;
    begin(&cluster, MembershipChange::RemoveGroup { group }).await
}

/// Make shares even
///
/// Where a change that was canceled has left them uneven.
#[utoipa::path(
    post,
    path = "/_miroir/rebalance",
    operation_id = "rebalance",
    tag = "membership",
    responses(
        (status = 202, description = "The change has begun, and goes on by itself.", body = Begun),
        RefusedChange,
        Refused,
    ),
)]
pub async fn rebalance(State(cluster): State<Shared>) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Rebalance).await
}

/// How far the change of the membership is, and how the last one ended
#[utoipa::path(
    get,
    path = "/_miroir/rebalance/status",
    operation_id = "rebalanceStatus",
    tag = "membership",
    responses((status = 200, description = "How it stands.", body = RebalanceStatus), Refused),
)]
pub async fn status(State(cluster): State<Shared>) -> Result<Response, Failure> {
    shown(StatusCode::OK, &cluster.membership.rebalance_status().await?)
}

/// Pause the change that is under way
///
/// No copy is begun and no reads are switched; what was switched is finished.
#[utoipa::path(
    post,
    path = "/_miroir/rebalance/pause",
    operation_id = "pauseRebalance",
    tag = "membership",
    responses(
        (status = 200, description = "It is written down, and will be followed.", body = IntentTaken),
        (status = 409, description = "No change is under way (`miroir_conflict`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn pause(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Pause).await
}

/// Let the change that is under way go on
#[utoipa::path(
    post,
    path = "/_miroir/rebalance/resume",
    operation_id = "resumeRebalance",
    tag = "membership",
    responses(
        (status = 200, description = "It is written down, and will be followed.", body = IntentTaken),
        (status = 409, description = "No change is under way (`miroir_conflict`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn resume(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Run).await
}

/// Call off the change that is under way
///
/// What was not switched is given up, and what was copied for it is deleted; what was switched stays.
#[utoipa::path(
    post,
    path = "/_miroir/rebalance/cancel",
    operation_id = "cancelRebalance",
    tag = "membership",
    responses(
        (status = 200, description = "It is written down, and will be followed.", body = IntentTaken),
        (status = 409, description = "No change is under way (`miroir_conflict`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn cancel(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Cancel).await
}

async fn begin(cluster: &Shared, change: MembershipChange) -> Result<Response, Failure> {
    let begun =
        undertaken(cluster, move |cluster, _| async move { cluster.membership.change_membership(change).await })
            .await?;
    let answer = Begun { id: begun.id, change: change_view(&begun.change), replicas: begun.moves as u64 };
    shown(StatusCode::ACCEPTED, &answer)
}

async fn ask(cluster: &Shared, intent: Intent) -> Result<Response, Failure> {
    if undertaken(cluster, move |cluster, _| async move { cluster.membership.ask_of_rebalance(intent).await }).await? {
        return shown(StatusCode::OK, &IntentTaken { intent: intent_view(intent) });
    }
    Err(Failure::new(Code::MiroirConflict, "No change of the cluster is under way."))
}

/// In a cluster of one group nobody has to name it.
fn only_group(cluster: &Shared) -> Result<GroupId, Failure> {
    match cluster.state.topology().shape.groups().as_slice() {
        [only] => Ok(*only),
        _ => Err(missing("replicaGroup")),
    }
}

fn read_node(request: &Object) -> Result<AddNode, Failure> {
    request.only(&["id", "address", "replicaGroup"])?;
    let replica_group = group_number(request)?;
    Ok(AddNode { id: request.text("id")?.to_owned(), address: request.text("address")?.to_owned(), replica_group })
}

fn read_group(request: &Object) -> Result<AddGroup, Failure> {
    request.only(&["replicaGroup", "nodes"])?;
    let replica_group = group_number(request)?;
    let nodes = request.get("nodes").ok_or_else(|| missing("nodes"))?;
    let nodes = nodes.as_array().ok_or_else(|| wrong_type("nodes", "an array", nodes))?;
    if nodes.len() > MOST_NODES {
        let problem = format!("expected at most {MOST_NODES} nodes, but found {}", nodes.len());
        return Err(invalid(".nodes", &problem));
    }
    let nodes = nodes.iter().enumerate().map(|(i, node)| {
        let node = Object::of(node.clone(), format!(".nodes[{i}]"))?;
        node.only(&["id", "address"])?;
        Ok(NewNode { id: node.text("id")?.to_owned(), address: node.text("address")?.to_owned() })
    });
    Ok(AddGroup { replica_group, nodes: nodes.collect::<Result<_, Failure>>()? })
}

fn group_number(request: &Object) -> Result<Option<u32>, Failure> {
    request.number("replicaGroup", "the number of a replica group")
}

/// `path`: where the node stands in the request.
fn member(node: NewNode, path: &str, group: GroupId) -> Result<Member, Failure> {
    let id = node_id(&node.id).map_err(|problem| invalid(&format!("{path}.id"), &problem))?;
    let address: NodeUrl =
        node.address.parse().map_err(|error: NodeUrlError| invalid(&format!("{path}.address"), &error))?;
    Ok(Member { id, address: address.to_string(), group })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> Object {
        Object::of(value, String::new()).expect("an object")
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let node = NewNode { id: "a".into(), address: "http://a:1".into() };
        for replica_group in [None, Some(7)] {
            let request = AddGroup { replica_group, nodes: vec![node.clone()] };
            let written = object(serde_json::to_value(&request).expect("JSON"));
            assert_eq!(read_group(&written).expect("a request"), request);
            let NewNode { id, address } = node.clone();
            let request = AddNode { id, address, replica_group };
            let written = object(serde_json::to_value(&request).expect("JSON"));
            assert_eq!(read_node(&written).expect("a request"), request);
        }
    }

    #[test]
    fn a_group_of_too_many_or_misspelt_nodes_is_refused() {
        let node = json!({ "id": "a", "address": "http://a:1" });
        for wrong in [
            json!({ "nodes": vec![&node; MOST_NODES + 1] }),
            json!({ "nodes": node }),
            json!({ "nodes": [{ "id": "a" }] }),
            json!({ "nodes": [{ "id": "a", "adress": "http://a:1" }] }),
            json!({ "nodes": [node], "replicaGroup": -1 }),
        ] {
            assert!(read_group(&object(wrong.clone())).is_err(), "{wrong}");
        }
    }
}
