//! Counting facets over what a search found, and searching in a facet's values.

use std::collections::{BTreeMap, BTreeSet};

use milli_core::heed::RoTxn;
use milli_core::{AttributePatterns, DEFAULT_VALUES_PER_FACET, FilterableAttributesRule, Index, PatternMatch};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};

/// `facetDistribution` and `facetStats` of the documents `found`.
///
/// # Errors
/// `invalid_search_facets`, or when the index cannot be read.
pub fn distribution(
    index: &Index,
    rtxn: &RoTxn<'_>,
    facets: &[String],
    found: RoaringBitmap,
) -> ApiResult<(Value, Value)> {
    let rules = index.filterable_attributes_rules(rtxn)?;
    if let Some(why) = facets.iter().find_map(|facet| objection(facet, &rules)) {
        return Err(ApiError::new("invalid_search_facets", format!("Invalid facet distribution: {why}")));
    }
    let most = index.max_values_per_facet(rtxn)?;
    let most = most.map_or(DEFAULT_VALUES_PER_FACET, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let order = index.sort_facet_values_by(rtxn)?;
    let asked = AttributePatterns::from(facets.to_vec());
    let fields = index.fields_ids_map(rtxn)?;
    let counted = fields.names().filter(|field| asked.match_str(field) == PatternMatch::Match);
    let counted = counted.filter(|field| {
        let rule = rules.iter().find(|rule| rule.match_str(field) == PatternMatch::Match);
        rule.is_some_and(|rule| rule.features().is_filterable())
    });
    let mut distribution = index.facets_distribution(rtxn);
    distribution.max_values_per_facet(most);
    distribution.facets(counted.map(|field| (field, order.get(field))));
    let counts = distribution.candidates(found).default_order_by(order.get("*")).execute().map_err(ApiError::from)?;
    let counts: BTreeMap<String, Map<String, Value>> = counts
        .into_iter()
        .map(|(facet, values)| (facet, values.into_iter().map(|(value, count)| (value, json!(count))).collect()))
        .collect();
    let stats: BTreeMap<String, Value> = distribution
        .compute_stats()?
        .into_iter()
        .map(|(facet, (min, max))| (facet, json!({"min": min, "max": max})))
        .collect();
    Ok((json!(counts), json!(stats)))
}

/// What Meilisearch 1.50 has against counting a facet. A pattern may be counted as soon as one filterable attribute is
/// within it, be that a plain name or a pattern itself.
fn objection(facet: &str, rules: &[FilterableAttributesRule]) -> Option<String> {
    for (number, rule) in rules.iter().enumerate() {
        if rule.features().is_filterable() {
            if meets(rule, facet) {
                return None;
            }
        } else if rule.match_str(facet) == PatternMatch::Match {
            return Some(format!(
                "Attribute `{facet}` matched rule #{number} in filterableAttributes, but this rule does not enable filtering.\nHint: enable filtering in rule #{number} by modifying the features.filter object\nHint: prepend another rule matching `{facet}` with appropriate filter features before rule #{number}"
            ));
        }
    }
    let names = |rule: &FilterableAttributesRule| match rule {
        FilterableAttributesRule::Field(name) => vec![name.clone()],
        FilterableAttributesRule::Pattern(rule) => rule.attribute_patterns.patterns.clone(),
    };
    let available: BTreeSet<String> =
        rules.iter().filter(|rule| rule.features().is_filterable()).flat_map(names).collect();
    let available = if available.is_empty() {
        "This index does not have configured filterable attributes.".to_owned()
    } else {
        let names: Vec<&str> = available.iter().map(String::as_str).collect();
        format!("Available filterable attributes patterns are: `{}`.", names.join(", "))
    };
    Some(format!("Pattern `{facet}` is not filterable. {available}"))
}

/// Whether the rule and the facet may have an attribute in common.
fn meets(rule: &FilterableAttributesRule, facet: &str) -> bool {
    let asked = AttributePatterns::from(vec![facet.to_owned()]);
    let reaches = |patterns: &AttributePatterns, name: &str| patterns.match_str(name) != PatternMatch::NoMatch;
    match rule {
        FilterableAttributesRule::Field(field) => {
            rule.match_str(facet) == PatternMatch::Match || reaches(&asked, field) || below(field, facet)
        }
        FilterableAttributesRule::Pattern(rule) => {
            rule.attribute_patterns.patterns.iter().any(|pattern| {
                reaches(&asked, pattern) || reaches(&AttributePatterns::from(vec![pattern.clone()]), facet)
            })
        }
    }
}

/// Whether the attribute `inner` is below `outer`.
fn below(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
}
