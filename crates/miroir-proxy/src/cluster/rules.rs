//! Search rules: what clients want is in the store; every live node is told, since nodes are the ones that know which
//! rules a query meets. A task that changes rules ends when all live nodes have taken its change.
//!
//! What a node has been sent is read from the node itself after a start and after the node was away, so that only
//! differences are sent. Rules that Miroir does not know are deleted from nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::features::Feature;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::rules::{Rule, RuleChange, RuleListing, RulePatch, RuleSet};
use miroir_core::task::{Effects, Task, TaskKind, TaskStatus};
use miroir_store::{Edit, Records, Store, StoreError, Table, TypedTable, View};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::follow::Follow;
use super::reconcile::{BUILTIN_TASKS, finish};
use super::write::{Accepted, Change, raw};
use super::{Cluster, Error, Writer};
use crate::node::{Call, Node, NotDone, ResponseError};

const TABLE: TypedTable<Rule> = TypedTable::new(Table::Rules);
/// Rules of a node read in one request.
const PAGE: usize = 500;
/// How long a node may take for the changes that it was sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's rules by their uid, as it shows them.
type OnNode = BTreeMap<String, Value>;

/// The rules that clients want, and what each node was sent of them.
pub struct RuleRegistry {
    rules: View<Rule, Arc<RuleSet>>,
    /// The rules that each live node was sent last, and how the node shows them.
    sent: Mutex<BTreeMap<NodeId, (Arc<RuleSet>, OnNode)>>,
    /// Wakes who tells nodes.
    pub(super) wake: Notify,
}

impl RuleRegistry {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let set = |records: &Records<Rule>| Arc::new(rule_set(records));
        Ok(Self { rules: View::load(store, TABLE, set).await?, sent: Mutex::default(), wake: Notify::new() })
    }

    /// The rules as the store has them, for whoever follows its changes.
    pub(super) fn follow(&self) -> &impl Follow {
        &self.rules
    }

    /// Forget what a node was sent: it may hold something else by now.
    pub(super) fn forget(&self, node: &NodeId) {
        self.sent().remove(node);
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, (Arc<RuleSet>, OnNode)>> {
        self.sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn rule_set(records: &Records<Rule>) -> RuleSet {
    RuleSet::new(records.values().map(|record| record.value.clone()))
}

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

impl Writer {
    /// `PATCH /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn change_rule(
        &self,
        uid: IndexUid,
        patch: RulePatch,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let details = json!({ "rule": patch.view(), "updatedRules": 1 });
        self.change_rules(RuleChange::Update { uid, rule: patch }, &details, custom_metadata).await
    }

    /// `DELETE /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete_rule(&self, uid: IndexUid, custom_metadata: Option<String>) -> Result<Accepted, Error> {
        self.change_rules(RuleChange::Delete { uid }, &json!({ "updatedRules": 1 }), custom_metadata).await
    }

    /// `DELETE /dynamic-search-rules`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn clear_rules(&self, custom_metadata: Option<String>) -> Result<Accepted, Error> {
        self.change_rules(RuleChange::Clear, &json!({ "deletedDocuments": null }), custom_metadata).await
    }

    async fn change_rules(
        &self,
        change: RuleChange,
        details: &Value,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let kind = if change == RuleChange::Clear { TaskKind::DsrClear } else { TaskKind::DsrUpdate };
        let effects = Effects { rules: Some(change), ..Effects::default() };
        let change = Change { details: raw(details), effects, custom_metadata, ..Change::of_no_index(kind) };
        self.do_later(change).await
    }
}

impl Cluster {
    /// The rules, none when there is none or when the feature is off.
    pub(super) fn active_rules(&self) -> Option<Arc<RuleSet>> {
        let rules = self.all_rules();
        Some(rules).filter(|rules| !rules.is_empty() && self.features().has(Feature::DynamicSearchRules))
    }

    fn all_rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.rules.now())
    }

    /// `GET /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such rule.
    pub fn rule(&self, uid: &IndexUid) -> Result<Value, Error> {
        let missing = || {
            let message = format!("Dynamic search rule `{uid}` not found.");
            Error::Invalid(ErrorBody::new(Code::DynamicSearchRuleNotFound, message))
        };
        self.all_rules().get(uid.as_str()).map(|rule| rule.view()).ok_or_else(missing)
    }

    /// `POST /dynamic-search-rules`. A search for words is made by a node, which shows the names; the rules are ours.
    ///
    /// # Errors
    /// When no node can be asked.
    pub async fn list_rules(&self, listing: &RuleListing) -> Result<Value, Error> {
        let rules = self.all_rules();
        let (results, total) = match &listing.query {
            Some(_) if !rules.is_empty() => self.search_rules(&rules, listing).await?,
            _ => rules.page(listing),
        };
        Ok(json!({ "results": results, "offset": listing.offset, "limit": listing.limit, "total": total }))
    }

    async fn search_rules(&self, rules: &RuleSet, listing: &RuleListing) -> Result<(Vec<Value>, usize), Error> {
        let reached: Vec<NodeId> = self.rules.sent().keys().cloned().collect();
        let node = reached.iter().filter(|id| self.is_live(id)).find_map(|id| self.node(id));
        let Some(node) = node.or_else(|| self.any_live_node()) else {
            return Err(Error::Overloaded("no node can be asked for rules"));
        };
        let filter = json!({ "query": listing.query, "active": listing.active });
        let body = json!({ "offset": listing.offset, "limit": listing.limit, "filter": filter });
        let answer = self.rules_of(&node, &body).await.map_err(|why| Error::answer(&node.member.id, why))?;
        let uid = |rule: &Value| rule.get("uid").and_then(Value::as_str).map(str::to_owned);
        let known = answer.results.iter().filter_map(|rule| Some(rules.get(&uid(rule)?)?.view()));
        Ok((known.collect(), answer.total))
    }

    /// Go on with a task that changes rules: first they change here, then nodes are told.
    ///
    /// # Errors
    /// [`Error::Store`]; it is tried again.
    pub(super) async fn go_on_with_rules(&self, task: &mut Task, change: &RuleChange) -> Result<(), Error> {
        if task.status == TaskStatus::Enqueued {
            let deleted = self.keep_rules(change).await?;
            if *change == RuleChange::Clear {
                task.details = raw(&json!({ "deletedDocuments": deleted }));
            }
            task.status = TaskStatus::Processing;
            task.started_at = Some(time::OffsetDateTime::now_utc());
            self.rules.wake.notify_one();
        } else if self.rules_are_told() {
            finish(task, TaskStatus::Succeeded, None);
        }
        Ok(())
    }

    /// Change the rules in the store and here. Doing it again changes nothing. Returns how many are gone.
    async fn keep_rules(&self, change: &RuleChange) -> Result<usize, Error> {
        let plan = |records: &Records<Rule>| {
            let before = rule_set(records);
            let after = before.changed(change);
            let mut edit = Edit::nothing();
            let gone = before.by_number().into_iter().filter(|rule| after.get(rule.uid.as_str()).is_none());
            edit.records.extend(gone.map(|rule| (rule.uid.to_string(), None)));
            let left = after.by_number().into_iter();
            edit.records.extend(left.map(|rule| (rule.uid.to_string(), Some(Rule::clone(rule)))));
            Ok::<_, StoreError>((edit, before.len().saturating_sub(after.len())))
        };
        Ok(self.rules.rules.change(plan).await?.0)
    }

    /// Whether every live node has what is wanted. While the feature is off, nodes take nothing and apply nothing.
    fn rules_are_told(&self) -> bool {
        if !self.features().has(Feature::DynamicSearchRules) {
            return true;
        }
        let rules = self.all_rules();
        let sent = self.rules.sent();
        let is_told = |node: &Arc<Node>| sent.get(&node.member.id).is_some_and(|(of, _)| Arc::ptr_eq(of, &rules));
        self.nodes().values().filter(|node| node.health.state().is_live()).all(is_told)
    }

    /// Names of indexes on nodes may have changed: rules that name indexes may have to be told again.
    pub(super) fn look_at_rules(&self) {
        if !self.rules.rules.now().is_empty() {
            self.rules.wake.notify_one();
        }
    }

    /// Tell nodes of rules for ever: at once after a change, and nodes that were away when they are back.
    pub async fn tell_rules(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.config.health.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.rules.wake.notified() => {}
            }
            // One instance tells all nodes: the one that ends the tasks.
            if !self.peers.owns(BUILTIN_TASKS) {
                self.rules.sent().clear();
            } else if self.features().has(Feature::DynamicSearchRules) {
                join_all(self.nodes().values().map(|node| self.bring_rules_to(node))).await;
                self.registered.notify_one();
            }
        }
    }

    async fn bring_rules_to(&self, node: &Node) {
        let id = &node.member.id;
        if !node.health.state().is_live() {
            // It may come back with another disk.
            self.rules.sent().remove(id);
            return;
        }
        let rules = self.all_rules();
        let on_node = self.rules.sent().get(id).map(|(_, on_node)| on_node.clone());
        let result = match on_node {
            Some(on_node) => self.send_rules(node, &rules, on_node).await,
            None => match self.all_rules_of(node).await {
                Ok(on_node) => self.send_rules(node, &rules, on_node).await,
                Err(why) => Err(why),
            },
        };
        match result {
            Ok(on_node) => {
                self.rules.sent().insert(id.clone(), (rules, on_node));
            }
            Err(why) => {
                tracing::warn!(node = %id, %why, "a node could not be told of search rules; trying again later");
                self.rules.sent().remove(id);
            }
        }
    }

    /// Send what differs from what the node has, in the order of the rules' numbers, and wait until it has done it.
    async fn send_rules(&self, node: &Node, rules: &RuleSet, on_node: OnNode) -> Result<OnNode, RulesError> {
        let wanted: Vec<Rule> =
            rules.by_number().iter().map(|rule| rule.for_nodes(|uid| self.name_for_rules(uid))).collect();
        let shown: OnNode = wanted.iter().map(|rule| (rule.uid.to_string(), rule.view())).collect();
        if shown == on_node {
            return Ok(on_node);
        }
        let mut last = None;
        for gone in on_node.keys().filter(|uid| !shown.contains_key(*uid)) {
            let call = Call::bare("rules", Method::DELETE, path_of(gone), self.read_timeout());
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
                let call = Call::bare("rules", Method::DELETE, path_of(uid), self.read_timeout());
                node.enqueue(call).await?;
            }
            let body = rule.fields.view().to_string().into_bytes();
            let call = Call::json("rules", Method::PATCH, path_of(uid), body, self.read_timeout());
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
        match self.catalog.get(uid) {
            Some(index) => Some(index.physical.clone()),
            None if self.catalog.by_physical(uid).is_some() => None,
            None => Some(uid.clone()),
        }
    }

    /// A node does its tasks one after the other: with the last one all are done.
    async fn await_rules(&self, node: &Node, task: u64) -> Result<(), RulesError> {
        let done = timeout(PATIENCE, node.await_tasks(&[task], self.read_timeout())).await;
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
        let call = Call::json("rules", Method::POST, "/dynamic-search-rules", body, self.read_timeout());
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
