//! Templates of embedders: Meilisearch's default one would put fields of ours into every text to embed, and a new stamp
//! would embed every document anew.

use serde_json::{Map, Value};

use super::refuse::names_ours;

const TEMPLATE: &str = "documentTemplate";

/// What Meilisearch uses, and reads back, where the client gave no template.
const DEFAULT: &str = "{% for field in fields %}{% if field.is_searchable and field.value != nil %}\
    {{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";

/// Equal to [`DEFAULT`] for documents without fields of ours; says nothing of those.
const OURS: &str = "{% for field in fields %}{% if field.is_searchable and field.value != nil \
    and field.name != \"_miroir_shard\" and field.name != \"_miroir_updated_at\" %}\
    {{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";

/// Give our template to each embedder of a patch that would end up with the default one.
pub(super) fn overlay(patch: &Value, current: Option<&Value>) -> Value {
    let Value::Object(embedders) = patch else {
        return patch.clone();
    };
    let member = |(name, patch): (&String, &Value)| {
        let before = match current {
            Some(current) => Before::Known(current.get(name)),
            None => Before::Unknown,
        };
        (name.clone(), embedder(patch, before))
    };
    Value::Object(embedders.iter().map(member).collect())
}

/// What an embedder was before the patch.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// The settings have not been read yet.
    Unknown,
    /// As read back; none: the patch makes it.
    Known(Option<&'a Value>),
}

impl<'a> Before<'a> {
    fn get(self, key: &str) -> Option<&'a Value> {
        match self {
            Self::Unknown => None,
            Self::Known(embedder) => embedder.and_then(|embedder| embedder.get(key)),
        }
    }
}

fn embedder(patch: &Value, before: Before<'_>) -> Value {
    let Value::Object(members) = patch else {
        return patch.clone();
    };
    let mut members = members.clone();
    if source(&members, before) == Some("composite") {
        // Searching embeds queries, not documents: only the other half has a template.
        if let Some(Value::Object(nested)) = members.get_mut("indexingEmbedder") {
            let before = match before {
                Before::Unknown => Before::Unknown,
                Before::Known(embedder) => Before::Known(embedder.and_then(|e| e.get("indexingEmbedder"))),
            };
            give_template(nested, before);
        }
    } else {
        give_template(&mut members, before);
    }
    Value::Object(members)
}

fn give_template(members: &mut Map<String, Value>, before: Before<'_>) {
    let takes_one = match source(members, before) {
        // A patch of an embedder that nobody has read: whoever made it gave it a template.
        None => false,
        Some(source) => !matches!(source, "userProvided" | "composite"),
    };
    if !takes_one || has_fragments(members, before) {
        return;
    }
    let becomes_default = match members.get(TEMPLATE) {
        Some(Value::Null) => true,
        Some(Value::String(template)) => template == DEFAULT,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
        // Unmentioned, it stays; and the default one that clients see is already ours on the nodes.
        None => before.get(TEMPLATE).is_none(),
    };
    if becomes_default {
        members.insert(TEMPLATE.into(), OURS.into());
    }
}

fn source<'a>(members: &'a Map<String, Value>, before: Before<'a>) -> Option<&'a str> {
    match (members.get("source"), before) {
        (Some(Value::String(source)), _) => Some(source),
        (None, Before::Unknown) => None,
        // Reset or never set: Meilisearch's default.
        (None, Before::Known(_)) => Some(before.get("source").and_then(Value::as_str).unwrap_or("openAi")),
        (Some(_), _) => Some("openAi"),
    }
}

/// Fragments and a template exclude each other.
fn has_fragments(members: &Map<String, Value>, before: Before<'_>) -> bool {
    ["indexingFragments", "searchFragments"].into_iter().any(|key| {
        let fragments = members.get(key).or_else(|| before.get(key)).and_then(Value::as_object);
        fragments.is_some_and(|fragments| fragments.values().any(|fragment| !fragment.is_null()))
    })
}

/// Show the default template instead of ours.
pub(super) fn strip(embedders: &mut Value) {
    let Value::Object(embedders) = embedders else {
        return;
    };
    for embedder in embedders.values_mut() {
        show_default(embedder);
        if let Some(nested) = embedder.get_mut("indexingEmbedder") {
            show_default(nested);
        }
    }
}

fn show_default(embedder: &mut Value) {
    if let Some(template) = embedder.get_mut(TEMPLATE)
        && template == OURS
    {
        *template = DEFAULT.into();
    }
}

/// A template of the client's that speaks of fields of ours.
pub(super) fn template_naming_ours(embedders: &Value) -> bool {
    let templates = |embedder: &Value| {
        let nested = embedder.get("indexingEmbedder").and_then(|nested| nested.get(TEMPLATE));
        let own = embedder.get(TEMPLATE);
        [own, nested].into_iter().flatten().filter_map(Value::as_str).any(names_ours)
    };
    embedders.as_object().is_some_and(|embedders| embedders.values().any(templates))
}
