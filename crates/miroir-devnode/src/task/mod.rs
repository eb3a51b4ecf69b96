//! Tasks: what a write asks for, and what became of it.

pub mod apply;
pub mod documents;
pub mod queue;
pub mod worker;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ApiError;

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Waiting for its turn.
    Enqueued,
    /// Being applied now.
    Processing,
    /// The whole of it was applied.
    Succeeded,
    /// Refused; the error says why. Nothing of it was applied.
    Failed,
    /// Taken out of the queue before its turn.
    Canceled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Enqueued, Self::Processing, Self::Succeeded, Self::Failed, Self::Canceled];

    /// Meilisearch's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Documents added, replaced or merged.
    DocumentAdditionOrUpdate,
    /// Documents deleted by id, by filter, or all.
    DocumentDeletion,
    /// Settings changed or reset.
    SettingsUpdate,
    /// An index created.
    IndexCreation,
    /// An index's primary key set.
    IndexUpdate,
    /// An index deleted.
    IndexDeletion,
    /// Indexes swapped.
    IndexSwap,
    /// Waiting tasks taken out of the queue.
    TaskCancelation,
    /// A search rule changed.
    DsrUpdate,
    /// All search rules deleted.
    DsrClear,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::DocumentAdditionOrUpdate,
        Self::DocumentDeletion,
        Self::SettingsUpdate,
        Self::IndexCreation,
        Self::IndexUpdate,
        Self::IndexDeletion,
        Self::IndexSwap,
        Self::TaskCancelation,
        Self::DsrUpdate,
        Self::DsrClear,
    ];

    /// Meilisearch's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DocumentAdditionOrUpdate => "documentAdditionOrUpdate",
            Self::DocumentDeletion => "documentDeletion",
            Self::SettingsUpdate => "settingsUpdate",
            Self::IndexCreation => "indexCreation",
            Self::IndexUpdate => "indexUpdate",
            Self::IndexDeletion => "indexDeletion",
            Self::IndexSwap => "indexSwap",
            Self::TaskCancelation => "taskCancelation",
            Self::DsrUpdate => "dsrUpdate",
            Self::DsrClear => "dsrClear",
        }
    }
}

/// What happens to a document that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// The new document takes its place.
    Replace,
    /// The new document's top-level members are written over the old one's.
    Merge,
}

/// The work itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Content {
    /// Write documents.
    Documents {
        /// Replace or merge.
        method: Method,
        /// `?primaryKey=`.
        primary_key: Option<String>,
        /// The payload's file name; none for an empty payload.
        payload: Option<String>,
        /// Documents in the payload.
        received: u64,
        /// Size of the payload.
        bytes: u64,
    },
    /// Delete these documents.
    DeleteIds(Vec<String>),
    /// Delete what this filter finds.
    DeleteByFilter(Value),
    /// Delete every document.
    DeleteAll,
    /// Change settings; `null` members are reset.
    Settings {
        /// The submitted settings.
        settings: Map<String, Value>,
        /// Whether a missing index is created; a reset does not.
        creates_index: bool,
    },
    /// Create an index.
    CreateIndex {
        /// Its primary key.
        primary_key: Option<String>,
    },
    /// Set the primary key.
    UpdateIndex {
        /// The new primary key.
        primary_key: Option<String>,
    },
    /// Delete the index and all it holds.
    DeleteIndex,
    /// Swap the indexes of each pair.
    Swap(Vec<(String, String)>),
    /// Take waiting tasks out of the queue.
    Cancel {
        /// How many the filter matched.
        matched: usize,
        /// The query string.
        filter: String,
    },
    /// Make or change a search rule; without fields, delete it.
    ChangeRule {
        /// The rule that changes.
        uid: String,
        /// What of it.
        fields: Option<Map<String, Value>>,
    },
    /// Delete all search rules.
    ClearRules,
}

impl Content {
    /// What kind of task does this.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Documents { .. } => Kind::DocumentAdditionOrUpdate,
            Self::DeleteIds(_) | Self::DeleteByFilter(_) | Self::DeleteAll => Kind::DocumentDeletion,
            Self::Settings { .. } => Kind::SettingsUpdate,
            Self::CreateIndex { .. } => Kind::IndexCreation,
            Self::UpdateIndex { .. } => Kind::IndexUpdate,
            Self::DeleteIndex => Kind::IndexDeletion,
            Self::Swap(_) => Kind::IndexSwap,
            Self::Cancel { .. } => Kind::TaskCancelation,
            Self::ChangeRule { .. } => Kind::DsrUpdate,
            Self::ClearRules => Kind::DsrClear,
        }
    }

    /// The details of a task that has not run yet.
    pub fn initial_details(&self) -> Map<String, Value> {
        let details = match self {
            Self::Documents { received, .. } => {
                json!({"receivedDocuments": received, "indexedDocuments": null})
            }
            Self::DeleteIds(ids) => {
                json!({"providedIds": ids.len(), "deletedDocuments": null, "originalFilter": null})
            }
            Self::DeleteByFilter(filter) => {
                json!({"providedIds": 0, "deletedDocuments": null, "originalFilter": filter.to_string()})
            }
            Self::DeleteAll | Self::DeleteIndex | Self::ClearRules => json!({"deletedDocuments": null}),
            Self::Settings { settings, .. } => {
                let mut shown = crate::engine::settings::without_secrets(settings.clone());
                for list in ["displayedAttributes", "searchableAttributes"] {
                    if let Some(reset) = shown.get_mut(list).filter(|value| value.is_null()) {
                        *reset = json!(["*"]);
                    }
                }
                for set in ["sortableAttributes", "stopWords", "separatorTokens", "nonSeparatorTokens", "dictionary"] {
                    if let Some(Value::Array(words)) = shown.get_mut(set) {
                        words.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                        words.dedup();
                    }
                }
                if let Some(Value::Array(rules)) = shown.get_mut("filterableAttributes") {
                    rules.iter_mut().filter_map(Value::as_object_mut).for_each(spell_out_features);
                }
                Value::Object(shown)
            }
            Self::CreateIndex { primary_key } | Self::UpdateIndex { primary_key } => {
                json!({"primaryKey": primary_key})
            }
            Self::Swap(pairs) => {
                let swaps: Vec<_> = pairs.iter().map(|(a, b)| json!({"indexes": [a, b], "rename": false})).collect();
                json!({"swaps": swaps})
            }
            Self::ChangeRule { fields: Some(fields), .. } => json!({"rule": fields, "updatedRules": 1}),
            Self::ChangeRule { fields: None, .. } => json!({"updatedRules": 1}),
            Self::Cancel { matched, filter } => {
                json!({"matchedTasks": matched, "canceledTasks": null, "originalFilter": filter})
            }
        };
        match details {
            Value::Object(details) => details,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        }
    }
}

/// A rule for attributes shows what it leaves out.
fn spell_out_features(rule: &mut Map<String, Value>) {
    let given = rule.remove("features").unwrap_or_default();
    let flag = |path: &str, default: bool| given.pointer(path).and_then(Value::as_bool).unwrap_or(default);
    let filter = json!({"equality": flag("/filter/equality", true), "comparison": flag("/filter/comparison", false)});
    rule.insert("features".to_owned(), json!({"facetSearch": flag("/facetSearch", false), "filter": filter}));
}

/// A task as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Its number, unique on the node, rising.
    pub uid: u32,
    /// The batch that it ran in.
    pub batch_uid: Option<u32>,
    /// The index it concerns; a swap concerns none alone.
    pub index_uid: Option<String>,
    /// What it does.
    pub kind: Kind,
    /// The work; dropped once finished.
    pub content: Option<Content>,
    /// How far it has come.
    pub status: Status,
    /// What clients see of the work and its result.
    pub details: Map<String, Value>,
    /// The task that took it out of the queue.
    #[serde(default)]
    pub canceled_by: Option<u32>,
    /// Why it failed.
    pub error: Option<ApiError>,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

impl Task {
    /// A new task.
    pub fn new(uid: u32, index_uid: Option<String>, content: Content) -> Self {
        Self {
            uid,
            batch_uid: None,
            index_uid,
            kind: content.kind(),
            details: content.initial_details(),
            content: Some(content),
            status: Status::Enqueued,
            canceled_by: None,
            error: None,
            enqueued_at: OffsetDateTime::now_utc(),
            started_at: None,
            finished_at: None,
        }
    }

    /// The task as `GET /tasks/{uid}` shows it.
    pub fn view(&self) -> Value {
        let duration = self.started_at.zip(self.finished_at).map(|(start, end)| iso8601(end - start));
        json!({
            "uid": self.uid,
            "batchUid": self.batch_uid,
            "indexUid": self.index_uid,
            "status": self.status.name(),
            "type": self.kind.name(),
            "canceledBy": self.canceled_by,
            "details": self.details,
            "error": self.error,
            "duration": duration,
            "enqueuedAt": rfc3339(self.enqueued_at),
            "startedAt": self.started_at.map(rfc3339),
            "finishedAt": self.finished_at.map(rfc3339),
        })
    }

    /// The task as the answer to the write shows it.
    pub fn summary(&self) -> Value {
        json!({
            "taskUid": self.uid,
            "indexUid": self.index_uid,
            "status": self.status.name(),
            "type": self.kind.name(),
            "enqueuedAt": rfc3339(self.enqueued_at),
        })
    }
}

/// A moment as Meilisearch writes it.
pub fn rfc3339(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}

/// A duration as Meilisearch writes it, `PT0.012345S`.
fn iso8601(duration: time::Duration) -> Option<String> {
    if duration.is_negative() {
        return None;
    }
    let days = duration.whole_days();
    let rest = duration - time::Duration::days(days);
    let date = if days == 0 { String::new() } else { format!("{days}D") };
    let time = if rest.is_zero() && days != 0 {
        String::new()
    } else {
        format!("T{}.{:09}S", rest.whole_seconds(), rest.subsec_nanoseconds())
    };
    Some(format!("P{date}{time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_iso_8601() {
        let format = |duration| iso8601(duration).unwrap();
        assert_eq!(format(time::Duration::milliseconds(1_250)), "PT1.250000000S");
        assert_eq!(format(time::Duration::days(2)), "P2D");
        assert_eq!(iso8601(time::Duration::seconds(-1)), None);
    }

    #[test]
    fn a_new_task_shows_what_it_was_given() {
        let content = Content::DeleteIds(vec!["1".to_owned(), "2".to_owned()]);
        let view = Task::new(7, Some("a".to_owned()), content).view();
        assert_eq!(view["uid"], 7);
        assert_eq!(view["type"], "documentDeletion");
        assert_eq!(view["details"]["providedIds"], 2);
        assert_eq!(view["details"]["deletedDocuments"], Value::Null);
    }
}
