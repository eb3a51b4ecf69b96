//! Experimental features: which there are, what clients want of them, and how Meilisearch words that one is off.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::error::{Code, ErrorBody};
use crate::base::json::described;

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $label:literal, $link:literal;)*) => {
        /// An experimental feature of Meilisearch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // the table below says it all
        pub enum Feature { $($(#[$doc])* $variant),* }

        impl Feature {
            /// All of them, in the order in which Meilisearch lists them.
            pub const ALL: &[Feature] = &[$(Feature::$variant),*];

            /// As the API spells it.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$variant => $name),* }
            }

            fn label(self) -> &'static str {
                match self { $(Feature::$variant => $label),* }
            }

            fn link(self) -> &'static str {
                match self { $(Feature::$variant => concat!("https://github.com/", $link)),* }
            }
        }
    };
}

features! {
    Metrics = "metrics", "metrics", "meilisearch/product/discussions/625";
    LogsRoute = "logsRoute", "logs route", "orgs/meilisearch/discussions/721";
    EditDocumentsByFunction = "editDocumentsByFunction", "edit documents by function", "orgs/meilisearch/discussions/762";
    ContainsFilter = "containsFilter", "contains filter", "orgs/meilisearch/discussions/763";
    DynamicSearchRules = "dynamicSearchRules", "dynamic search rules", "orgs/meilisearch/discussions/884";
    Network = "network", "network", "orgs/meilisearch/discussions/805";
    GetTaskDocumentsRoute = "getTaskDocumentsRoute", "get task documents route", "orgs/meilisearch/discussions/808";
    TaskQueueCompactionRoute = "taskQueueCompactionRoute", "task queue compaction route", "orgs/meilisearch/discussions/883";
    CompositeEmbedders = "compositeEmbedders", "composite embedders", "orgs/meilisearch/discussions/816";
    ChatCompletions = "chatCompletions", "chat completions", "orgs/meilisearch/discussions/835";
    Multimodal = "multimodal", "multimodal", "orgs/meilisearch/discussions/846";
    ForeignKeys = "foreignKeys", "foreign_keys", "orgs/meilisearch/discussions/873";
    DisableDocumentsFetchQueue = "disableDocumentsFetchQueue", "disable documents fetch queue", "meilisearch/meilisearch";
    LegacySearch = "legacySearch", "legacy search", "meilisearch/meilisearch";
    RenderRoute = "renderRoute", "render_route", "orgs/meilisearch/discussions/888";
}

impl Feature {
    /// The refusal of an action that needs the feature while it is off.
    pub fn required_for(self, action: impl fmt::Display) -> ErrorBody {
        let message =
            format!("{action} requires enabling the `{}` experimental feature. See {}", self.label(), self.link());
        ErrorBody::new(Code::FeatureNotEnabled, message)
    }

    /// Nodes are told of it. They are never part of a network of their own: Miroir is their network. And of another
    /// index's documents a node knows its own part alone: Miroir joins them.
    pub fn is_for_nodes(self) -> bool {
        !matches!(self, Self::Network | Self::ForeignKeys)
    }
}

/// The features that are on. All others are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(Vec<Feature>);

impl Features {
    /// The feature is on.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// What `PATCH /experimental-features` makes of them.
    ///
    /// # Errors
    /// Meilisearch's refusal of the first member that is wrong.
    pub fn patched(&self, patch: &Value) -> Result<Self, ErrorBody> {
        let refuse = |message| Err(ErrorBody::new(Code::BadRequest, message));
        let Value::Object(members) = patch else {
            return refuse(format!("Invalid value type: expected an object, but found {}", described(patch)));
        };
        let mut next = self.clone();
        for (name, value) in members {
            let Some(feature) = Feature::ALL.iter().find(|feature| feature.name() == name) else {
                let known: Vec<String> = Feature::ALL.iter().map(|feature| format!("`{}`", feature.name())).collect();
                return refuse(format!("Unknown field `{name}`: expected one of {}", known.join(", ")));
            };
            match value {
                Value::Null => {}
                Value::Bool(on) => {
                    next.0.retain(|other| other != feature);
                    next.0.extend(on.then_some(*feature));
                }
                other @ (Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                    let found = described(other);
                    return refuse(format!("Invalid value type at `.{name}`: expected a boolean, but found {found}"));
                }
            }
        }
        next.0.sort_unstable();
        Ok(next)
    }

    /// As the API shows them.
    pub fn view(&self) -> Value {
        let all = Feature::ALL.iter().map(|feature| (feature.name().to_owned(), Value::Bool(self.has(*feature))));
        Value::Object(all.collect())
    }

    /// What nodes are asked to be like.
    pub fn for_nodes(&self) -> Value {
        let told = Feature::ALL.iter().filter(|feature| **feature != Feature::Network);
        let wanted = |feature: &Feature| self.has(*feature) && feature.is_for_nodes();
        Value::Object(told.map(|feature| (feature.name().to_owned(), Value::Bool(wanted(feature)))).collect())
    }
}

impl Serialize for Features {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Features {
    /// Features that this release does not know are off.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members: Map<String, Value> = Map::deserialize(deserializer)?;
        let on = |feature: &&Feature| members.get(feature.name()) == Some(&Value::Bool(true));
        Ok(Self(Feature::ALL.iter().filter(on).copied().collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names() {
        let some = Features::default().patched(&json!({ "metrics": true, "network": true })).expect("valid");
        let less = some.patched(&json!({ "metrics": false, "network": null })).expect("valid");
        assert!(!less.has(Feature::Metrics) && less.has(Feature::Network));
        assert_eq!(less.view()["network"], true);
        assert_eq!(less.for_nodes().get("network"), None);
        let joining = less.patched(&json!({ "foreignKeys": true })).expect("valid");
        assert_eq!(
            (&joining.view()["foreignKeys"], &joining.for_nodes()["foreignKeys"]),
            (&json!(true), &json!(false))
        );
        let stored = serde_json::to_string(&less).expect("plain");
        assert_eq!(serde_json::from_str::<Features>(&stored).expect("own text"), less);
    }

    #[test]
    fn refusals_are_worded_as_by_meilisearch() {
        let message = |patch| Features::default().patched(&patch).expect_err("wrong").message;
        assert_eq!(
            message(json!({ "metrics": 1 })),
            "Invalid value type at `.metrics`: expected a boolean, but found a positive integer: `1`"
        );
        assert!(
            message(json!({ "x": true })).starts_with("Unknown field `x`: expected one of `metrics`, `logsRoute`,")
        );
        assert_eq!(message(json!([])), "Invalid value type: expected an object, but found an array: `[]`");
        assert_eq!(
            Feature::RenderRoute.required_for("calling the /render-template route").message,
            "calling the /render-template route requires enabling the `render_route` experimental feature. See https://github.com/orgs/meilisearch/discussions/888"
        );
    }
}
