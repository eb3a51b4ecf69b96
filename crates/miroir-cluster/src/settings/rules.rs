//! Search rules on nodes: every live node is told, since nodes are the ones that know which rules a query meets.
//!
//! What a node has been sent is read from the node itself after a start and after the node was away, so that only
//! differences are sent. Rules that Miroir does not know are deleted from nodes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use miroir_core::base::id::{IndexUid, NodeId};
use miroir_core::rules::{RuleChange, RuleListing, RulePatch, RuleSet, SearchRule};
use miroir_core::settings::features::Feature;
use miroir_core::write::task::{Effects, TaskKind};
use miroir_node::{Call, Node, NotDone, ResponseError};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::state::rules::OnNode;
use crate::task::reconcile::BUILTIN_TASKS;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::{Error, SharedSettings, Writer};

/// Rules of a node read in one request.
const PAGE: usize = 500;
/// How long a node may take for the changes that it was sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a node does not have the rules that it should have.
#[derive(Debug, Error)]
enum RulesError {
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error("its task {0} takes too long")]
    Slow(u64),
    #[error("it has a rule without a name")]
    Nameless,
}

#[derive(Deserialize)]
struct RulesOfNode {
    results: Vec<Value>,
    total: usize,
}

impl SharedSettings {
    /// `PATCH /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn change_rule(
        &self,
        writer: &Writer,
        uid: IndexUid,
        patch: RulePatch,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let details = json!({ "rule": patch.view(), "updatedRules": 1 });
        self.change_rules(writer, RuleChange::Update { uid, rule: patch }, &details, custom_metadata).await
    }

    /// `DELETE /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete_rule(
        &self,
        writer: &Writer,
        uid: IndexUid,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        self.change_rules(writer, RuleChange::Delete { uid }, &json!({ "updatedRules": 1 }), custom_metadata).await
    }

    /// `DELETE /dynamic-search-rules`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn clear_rules(&self, writer: &Writer, custom_metadata: Option<String>) -> Result<Accepted, Error> {
        self.change_rules(writer, RuleChange::Clear, &json!({ "deletedDocuments": null }), custom_metadata).await
    }

    async fn change_rules(
        &self,
        writer: &Writer,
        change: RuleChange,
        details: &Value,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let kind = if change == RuleChange::Clear { TaskKind::DsrClear } else { TaskKind::DsrUpdate };
        let effects = Effects { rules: Some(change), ..Effects::default() };
        let change = Change { details: raw(details), effects, custom_metadata, ..Change::of_no_index(kind) };
        writer.do_later(change).await
    }

    /// `POST /dynamic-search-rules`. A search for words is made by a node, which shows the names; the rules are ours.
    ///
    /// # Errors
    /// When no node can be asked.
    pub async fn list_rules(&self, listing: &RuleListing) -> Result<Value, Error> {
        let rules = self.state.all_rules();
        let (results, total) = match &listing.query {
            Some(_) if !rules.is_empty() => self.search_rules(&rules, listing).await?,
            _ => rules.page(listing),
        };
        Ok(json!({ "results": results, "offset": listing.offset, "limit": listing.limit, "total": total }))
    }

    async fn search_rules(&self, rules: &RuleSet, listing: &RuleListing) -> Result<(Vec<Value>, usize), Error> {
        let reached: Vec<NodeId> = self.state.rules.sent().keys().cloned().collect();
        let node = reached.iter().filter(|id| self.state.is_live(id)).find_map(|id| self.state.node(id));
        let Some(node) = node.or_else(|| self.reads.any_live_node()) else {
            return Err(Error::Overloaded("no node can be asked for rules"));
        };
        let filter = json!({ "query": listing.query, "active": listing.active });
        let body = json!({ "offset": listing.offset, "limit": listing.limit, "filter": filter });
        let answer = self.rules_of(&node, &body).await.map_err(|why| Error::answer(&node.member.id, why))?;
        let uid = |rule: &Value| rule.get("uid").and_then(Value::as_str).map(str::to_owned);
        let known = answer.results.iter().filter_map(|rule| Some(rules.get(&uid(rule)?)?.view()));
        Ok((known.collect(), answer.total))
    }

    /// Tell nodes of rules for ever: at once after a change, and nodes that were away when they are back.
    pub async fn tell_rules(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.state.config.health.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.state.rules.wake.notified() => {}
            }
            // One instance tells all nodes: the one that ends the tasks.
            if !self.state.peers.owns(BUILTIN_TASKS) {
                self.state.rules.sent().clear();
            } else if self.state.features().has(Feature::DynamicSearchRules) {
                join_all(self.state.nodes().values().map(|node| self.bring_rules_to(node))).await;
                self.state.registered.notify_one();
            }
        }
    }

    async fn bring_rules_to(&self, node: &Node) {
        let id = &node.member.id;
        if !node.health.state().is_live() {
            // It may come back with another disk.
            self.state.rules.sent().remove(id);
            return;
        }
        let rules = self.state.all_rules();
        let on_node = self.state.rules.sent().get(id).map(|(_, on_node)| on_node.clone());
        let result = match on_node {
            Some(on_node) => self.send_rules(node, &rules, on_node).await,
            None => match self.all_rules_of(node).await {
                Ok(on_node) => self.send_rules(node, &rules, on_node).await,
                Err(why) => Err(why),
            },
        };
        match result {
            Ok(on_node) => {
                self.state.rules.sent().insert(id.clone(), (rules, on_node));
            }
            Err(why) => {
                tracing::warn!(node = %id, %why, "a node could not be told of search rules; trying again later");
                self.state.rules.sent().remove(id);
            }
        }
    }

    /// Send what differs from what the node has, in the order of the rules' numbers, and wait until it has done it.
    async fn send_rules(&self, node: &Node, rules: &RuleSet, on_node: OnNode) -> Result<OnNode, RulesError> {
        let wanted: Vec<SearchRule> =
            rules.by_number().iter().map(|rule| rule.for_nodes(|uid| self.name_for_rules(uid))).collect();
        let shown: OnNode = wanted.iter().map(|rule| (rule.uid.to_string(), rule.view())).collect();
        if shown == on_node {
            return Ok(on_node);
        }
        let mut last = None;
        for gone in on_node.keys().filter(|uid| !shown.contains_key(*uid)) {
            let call = Call::bare("rules", Method::DELETE, path_of(gone), self.state.read_timeout());
            last = Some(node.enqueue(call).await?);
        }
        for rule in &wanted {
            let uid = rule.uid.as_str();
            if on_node.get(uid) == shown.get(uid) {
                continue;
            }
            // What was set once can be set to something else, not be unset.
            let has_more =
                on_node.get(uid).is_some_and(|before| shown.get(uid).is_some_and(|now| has_more(before, now)));
            if has_more {
                let call = Call::bare("rules", Method::DELETE, path_of(uid), self.state.read_timeout());
                node.enqueue(call).await?;
            }
            let body = rule.fields.view().to_string().into_bytes();
            let call = Call::json("rules", Method::PATCH, path_of(uid), body, self.state.read_timeout());
            last = Some(node.enqueue(call).await?);
        }
        if let Some(task) = last {
            self.await_rules(node, task).await?;
        }
        Ok(shown)
    }

    /// The nodes' name of an index that a rule names. An index that is still to come most likely gets its own name, unless
    /// that is another's on nodes.
    fn name_for_rules(&self, uid: &IndexUid) -> Option<IndexUid> {
        match self.state.catalog.get(uid) {
            Some(index) => Some(index.physical.clone()),
            None if self.state.catalog.by_physical(uid).is_some() => None,
            None => Some(uid.clone()),
        }
    }

    /// A node does its tasks one after the other: with the last one all are done.
    async fn await_rules(&self, node: &Node, task: u64) -> Result<(), RulesError> {
        let done = timeout(PATIENCE, node.await_tasks(&[task], self.state.read_timeout())).await;
        Ok(done.map_err(|_| RulesError::Slow(task))??)
    }

    async fn all_rules_of(&self, node: &Node) -> Result<OnNode, RulesError> {
        let mut all = OnNode::new();
        for page in 0.. {
            let answer = self.rules_of(node, &json!({ "offset": page * PAGE, "limit": PAGE })).await?;
            let count = answer.results.len();
            for rule in answer.results {
                let uid = rule.get("uid").and_then(Value::as_str).ok_or(RulesError::Nameless)?;
                all.insert(uid.to_owned(), rule.clone());
            }
            if count < PAGE {
                break;
            }
        }
        Ok(all)
    }

    async fn rules_of(&self, node: &Node, listing: &Value) -> Result<RulesOfNode, ResponseError> {
        let body = listing.to_string().into_bytes();
        let call = Call::json("rules", Method::POST, "/dynamic-search-rules", body, self.state.read_timeout());
        node.read(call).await
    }
}

/// Whether a rule as it was has members that it has no more.
fn has_more(before: &Value, now: &Value) -> bool {
    let members = before.as_object().into_iter().flatten();
    members.map(|(name, _)| name).any(|name| now.get(name).is_none())
}

fn path_of(uid: &str) -> String {
    format!("/dynamic-search-rules/{uid}")
}
