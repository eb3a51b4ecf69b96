//! `/_miroir/nodes`, `/_miroir/groups`, `/_miroir/rebalance`: the membership, and its changes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::config::{NodeUrl, NodeUrlError, node_id};
use miroir_core::error::Code;
use miroir_core::id::{GroupId, NodeId};
use miroir_core::topology::Member;
use miroir_core::transition::MembershipChange;
use miroir_work::led::Intent;
use serde_json::{Value, json};

use super::body::Payload;
use super::error::Failure;
use super::object::{Object, missing, wrong_type};
use super::observe::undertaken;
use super::{Shared, json};
use crate::cluster::change_view;

/// Nodes of one request to add a group.
const MOST_NODES: usize = 1024;

pub async fn add_node(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let request = Object::read(&mut payload).await?;
    request.only(&["id", "address", "replicaGroup"])?;
    let group = match request.get("replicaGroup") {
        Some(value) => group_number(value, "replicaGroup")?,
        None => only_group(&cluster)?,
    };
    begin(&cluster, MembershipChange::AddNode { member: member(&request, group)? }).await
}

pub async fn remove_node(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::RemoveNode { node: NodeId::new(id) }).await
}

pub async fn drain(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Drain { node: NodeId::new(id) }).await
}

pub async fn undrain(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Undrain { node: NodeId::new(id) }).await
}

pub async fn add_group(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let request = Object::read(&mut payload).await?;
    request.only(&["replicaGroup", "nodes"])?;
    let group = match request.get("replicaGroup") {
        Some(value) => group_number(value, "replicaGroup")?,
        None => {
            let newest = cluster.topology().shape.groups().last().map_or(0, |group| group.0);
            GroupId(newest.saturating_add(1))
        }
    };
    let nodes = request.get("nodes").ok_or_else(|| missing("nodes"))?;
    let nodes = nodes.as_array().ok_or_else(|| wrong_type("nodes", "an array", nodes))?;
    if nodes.len() > MOST_NODES {
        let message =
            format!("Invalid value at `.nodes`: expected at most {MOST_NODES} nodes, but found {}.", nodes.len());
        return Err(Failure::new(Code::BadRequest, message));
    }
    let members = nodes.iter().enumerate().map(|(i, node)| {
        let node = Object::of(node.clone(), format!(".nodes[{i}]"))?;
        node.only(&["id", "address"])?;
        member(&node, group)
    });
    begin(&cluster, MembershipChange::AddGroup { group, members: members.collect::<Result<_, Failure>>()? }).await
}

pub async fn remove_group(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    let group = id.parse().map(GroupId).map_err(|_| {
        let shown: String = id.chars().take(40).collect();
        Failure::new(Code::BadRequest, format!("`{shown}` is no replica group: expected a number such as `1`."))
    })?;
    begin(&cluster, MembershipChange::RemoveGroup { group }).await
}

pub async fn rebalance(State(cluster): State<Shared>) -> Result<Response, Failure> {
    begin(&cluster, MembershipChange::Rebalance).await
}

pub async fn status(State(cluster): State<Shared>) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, cluster.rebalance_status().await?.to_string()))
}

pub async fn pause(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Pause).await
}

pub async fn resume(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Run).await
}

pub async fn cancel(State(cluster): State<Shared>) -> Result<Response, Failure> {
    ask(&cluster, Intent::Cancel).await
}

async fn begin(cluster: &Shared, change: MembershipChange) -> Result<Response, Failure> {
    let begun = undertaken(cluster, move |writer| async move { writer.change_membership(change).await }).await?;
    let body = json!({ "id": begun.id, "change": change_view(&begun.change), "replicas": begun.moves });
    Ok(json(StatusCode::ACCEPTED, body.to_string()))
}

async fn ask(cluster: &Shared, intent: Intent) -> Result<Response, Failure> {
    if undertaken(cluster, move |writer| async move { writer.ask_of_rebalance(intent).await }).await? {
        return Ok(json(StatusCode::OK, json!({ "intent": intent }).to_string()));
    }
    Err(Failure::new(Code::MiroirConflict, "No change of the cluster is under way."))
}

/// In a cluster of one group nobody has to name it.
fn only_group(cluster: &Shared) -> Result<GroupId, Failure> {
    match cluster.topology().shape.groups().as_slice() {
        [only] => Ok(*only),
        _ => Err(missing("replicaGroup")),
    }
}

fn member(node: &Object, group: GroupId) -> Result<Member, Failure> {
    let (id, address) = (node.text("id")?, node.text("address")?);
    let id = node_id(id).map_err(|problem| node.invalid("id", &problem))?;
    let address: NodeUrl = address.parse().map_err(|error: NodeUrlError| node.invalid("address", &error))?;
    Ok(Member { id, address: address.to_string(), group })
}

fn group_number(value: &Value, field: &str) -> Result<GroupId, Failure> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(GroupId).ok_or_else(|| wrong_type(field, "the number of a replica group", value))
}
