//! Counting facets over what a search found, and searching in a facet's values.

use std::collections::BTreeMap;

use milli_core::heed::RoTxn;
use milli_core::{DEFAULT_VALUES_PER_FACET, FilterableAttributesRule, Index};
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
    // Later engines want a rule that is a pattern itself before they take one.
    let is_pattern = |rule: &FilterableAttributesRule| match rule {
        FilterableAttributesRule::Field(name) => name == "*",
        FilterableAttributesRule::Pattern(_) => true,
    };
    if facets.iter().any(|facet| facet == "*") && !index.filterable_attributes_rules(rtxn)?.iter().any(is_pattern) {
        let message = "Invalid facet distribution: Pattern `*` is not filterable.";
        return Err(ApiError::new("invalid_search_facets", message));
    }
    let most = index.max_values_per_facet(rtxn)?;
    let most = most.map_or(DEFAULT_VALUES_PER_FACET, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let order = index.sort_facet_values_by(rtxn)?;
    let mut distribution = index.facets_distribution(rtxn);
    distribution.max_values_per_facet(most);
    if facets.iter().all(|facet| facet != "*") {
        distribution.facets(facets.iter().map(|facet| (facet, order.get(facet))));
    }
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
