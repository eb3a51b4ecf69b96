//! Tasks that change search rules: first the rules change here, then nodes are told, and the task ends when all have been.

use std::sync::Arc;

use miroir_core::rules::{RuleChange, SearchRule};
use miroir_core::settings::features::Feature;
use miroir_core::write::task::{Task, TaskStatus};
use miroir_node::Node;
use miroir_store::{Edit, Records, StoreError};
use serde_json::json;

use crate::state::rules::rule_set;
use crate::task::reconcile::finish;
use crate::write::fan_out::raw;
use crate::{Error, Tasks};

impl Tasks {
    /// Go on with a task that changes rules: first they change here, then nodes are told.
    ///
    /// # Errors
    /// [`Error::Store`]; it is tried again.
    pub(crate) async fn go_on_with_rules(&self, task: &mut Task, change: &RuleChange) -> Result<(), Error> {
        if task.status == TaskStatus::Enqueued {
            let deleted = self.keep_rules(change).await?;
            if *change == RuleChange::Clear {
                task.details = raw(&json!({ "deletedDocuments": deleted }));
            }
            task.status = TaskStatus::Processing;
            task.started_at = Some(time::OffsetDateTime::now_utc());
            self.state.rules.wake.notify_one();
        } else if self.rules_are_told() {
            finish(task, TaskStatus::Succeeded, None);
        }
        Ok(())
    }

    /// Change the rules in the store and here. Doing it again changes nothing. Returns how many are gone.
    async fn keep_rules(&self, change: &RuleChange) -> Result<usize, Error> {
        let plan = |records: &Records<SearchRule>| {
            let before = rule_set(records);
            let after = before.changed(change);
            let mut edit = Edit::nothing();
            let gone = before.by_number().into_iter().filter(|rule| after.get(rule.uid.as_str()).is_none());
            edit.records.extend(gone.map(|rule| (rule.uid.to_string(), None)));
            let left = after.by_number().into_iter();
            edit.records.extend(left.map(|rule| (rule.uid.to_string(), Some(SearchRule::clone(rule)))));
            Ok::<_, StoreError>((edit, before.len().saturating_sub(after.len())))
        };
        Ok(self.state.rules.rules.change(plan).await?.0)
    }

    /// Whether every live node has what is wanted. While the feature is off, nodes take nothing and apply nothing.
    fn rules_are_told(&self) -> bool {
        if !self.state.features().has(Feature::DynamicSearchRules) {
            return true;
        }
        let rules = self.state.all_rules();
        let sent = self.state.rules.sent();
        let is_told = |node: &Arc<Node>| sent.get(&node.member.id).is_some_and(|(of, _)| Arc::ptr_eq(of, &rules));
        self.state.nodes().values().filter(|node| node.health.state().is_live()).all(is_told)
    }
}
