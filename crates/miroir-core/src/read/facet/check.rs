//! Whether facets may be asked for. Nodes judge that themselves, but their `filterableAttributes` begin with a rule for
//! our fields, which a pattern such as `*` finds where one server would find nothing.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::base::error::ErrorBody;
use crate::base::strip;
use crate::read::search::covers;

#[derive(Deserialize)]
#[serde(untagged)]
enum Rule {
    Attribute(String),
    #[serde(rename_all = "camelCase")]
    Patterns {
        attribute_patterns: Vec<String>,
        #[serde(default)]
        features: Features,
    },
}

#[derive(Default, Deserialize)]
struct Features {
    #[serde(default)]
    filter: FilterFeatures,
}

#[derive(Deserialize)]
#[serde(default)]
struct FilterFeatures {
    equality: bool,
    comparison: bool,
}

impl Default for FilterFeatures {
    fn default() -> Self {
        Self { equality: true, comparison: false }
    }
}

impl Rule {
    fn is_filterable(&self) -> bool {
        match self {
            Self::Attribute(_) => true,
            Self::Patterns { features: Features { filter }, .. } => filter.equality || filter.comparison,
        }
    }

    fn names(&self) -> &[String] {
        match self {
            Self::Attribute(name) => std::slice::from_ref(name),
            Self::Patterns { attribute_patterns, .. } => attribute_patterns,
        }
    }

    /// Whether the rule and the facet asked for may have an attribute in common.
    fn meets(&self, facet: &str) -> bool {
        match self {
            Self::Attribute(name) => covers(name, facet) || reaches(facet, name),
            Self::Patterns { attribute_patterns, .. } => {
                attribute_patterns.iter().any(|pattern| reaches(facet, pattern) || reaches(pattern, facet))
            }
        }
    }

    /// Whether the rule is the one that decides about an attribute of the facet's very name.
    fn decides(&self, facet: &str) -> bool {
        match self {
            Self::Attribute(name) => covers(name, facet),
            Self::Patterns { attribute_patterns, .. } => attribute_patterns.iter().any(|one| matches(one, facet)),
        }
    }
}

/// Whether `name` is matched by `pattern`, in which asterisks stand at the ends alone.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(inner), Some(_)) => inner.strip_suffix('*').is_some_and(|inner| name.contains(inner)),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => pattern == name,
    }
}

/// Whether `pattern` matches `name` or, read as a path, something below it.
fn reaches(pattern: &str, name: &str) -> bool {
    matches(pattern, name) || covers(name, pattern)
}

/// The error of one server for facets that only our own rule would allow; `None` when the nodes may judge.
/// `filterable` is the client's `filterableAttributes`, none when there are no settings yet.
pub fn refusal(facets: &[String], filterable: Option<&Value>) -> Option<ErrorBody> {
    let may_find_ours = |facet: &String| {
        facet.contains('*') || facet.starts_with(strip::PREFIX) || strip::PREFIX.starts_with(facet.as_str())
    };
    if !facets.iter().any(may_find_ours) {
        return None;
    }
    let rules: Vec<Rule> = filterable.map_or(Ok(Vec::new()), Deserialize::deserialize).ok()?;
    let why = facets.iter().find_map(|facet| objection(facet, &rules))?;
    let code = "invalid_search_facets";
    Some(ErrorBody {
        message: format!("Invalid facet distribution: {why}"),
        code: code.into(),
        kind: "invalid_request".into(),
        link: format!("https://docs.meilisearch.com/errors#{code}"),
    })
}

/// What one server has against a facet: the first rule that has to do with it says whether it may be counted.
fn objection(facet: &str, rules: &[Rule]) -> Option<String> {
    for (number, rule) in rules.iter().enumerate() {
        if rule.is_filterable() {
            if rule.meets(facet) {
                return None;
            }
        } else if rule.decides(facet) {
            return Some(format!(
                "Attribute `{facet}` matched rule #{number} in filterableAttributes, but this rule does not enable filtering.\nHint: enable filtering in rule #{number} by modifying the features.filter object\nHint: prepend another rule matching `{facet}` with appropriate filter features before rule #{number}"
            ));
        }
    }
    let available: BTreeSet<&str> =
        rules.iter().filter(|rule| rule.is_filterable()).flat_map(Rule::names).map(String::as_str).collect();
    let available = if available.is_empty() {
        "This index does not have configured filterable attributes.".to_owned()
    } else {
        let names: Vec<&str> = available.into_iter().collect();
        format!("Available filterable attributes patterns are: `{}`.", names.join(", "))
    };
    Some(format!("Pattern `{facet}` is not filterable. {available}"))
}
