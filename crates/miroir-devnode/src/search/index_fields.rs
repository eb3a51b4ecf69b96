//! The fields of an index and what each may be used for.

use milli_core::{AttributePatterns, Criterion, FilterableAttributesRule, OrderBy, PatternMatch, is_faceted_by};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::ApiResult;
use crate::fields::Fields;

const CODE: &str = "invalid_index_fields_filter";

/// What is asked for.
#[derive(Debug)]
pub struct FieldsQuery {
    offset: usize,
    limit: usize,
    patterns: Option<Vec<String>>,
    /// Pointers into a field's description, and what is wanted there.
    wanted: Vec<(&'static str, bool)>,
}

impl FieldsQuery {
    /// Reads the request's members.
    ///
    /// # Errors
    /// The first wrong member's code.
    pub fn read(fields: &mut Fields) -> ApiResult<Self> {
        let offset = fields.or("offset", "invalid_index_offset", 0)?;
        let limit = fields.or("limit", "invalid_index_limit", 20)?;
        let mut query = Self { offset, limit, patterns: None, wanted: Vec::new() };
        let Some(filter) = fields.optional::<Value>("filter", CODE)? else { return Ok(query) };
        let mut filter = Fields::parse(filter.to_string().as_bytes()).map_err(|error| error.with_code(CODE))?;
        query.patterns = filter.optional("attributePatterns", "invalid_index_fields_filter_attribute_patterns")?;
        for (name, code, pointer) in [
            ("displayed", "invalid_index_fields_filter_displayed", "/displayed/enabled"),
            ("searchable", "invalid_index_fields_filter_searchable", "/searchable/enabled"),
            ("sortable", "invalid_index_fields_filter_sortable", "/sortable/enabled"),
            ("distinct", "invalid_index_fields_filter_distinct", "/distinct/enabled"),
            ("rankingRule", "invalid_index_fields_filter_ranking_rule", "/rankingRule/enabled"),
            ("filterable", "invalid_index_fields_filter_filterable", "/filterable/enabled"),
        ] {
            query.wanted.extend(filter.optional::<bool>(name, code)?.map(|wanted| (pointer, wanted)));
        }
        filter.finish().map_err(|error| error.with_code(CODE))?;
        Ok(query)
    }

    fn admits(&self, name: &str, field: &Value) -> bool {
        let named = self.patterns.as_ref().is_none_or(|patterns| {
            AttributePatterns { patterns: patterns.clone() }.match_str(name) == PatternMatch::Match
        });
        named && self.wanted.iter().all(|(pointer, wanted)| field.pointer(pointer) == Some(&json!(wanted)))
    }
}

/// A page of the index's fields in the order of their names.
///
/// # Errors
/// `index_not_found`, or when the index cannot be read.
pub fn page(engine: &Engine, uid: &str, query: &FieldsQuery) -> ApiResult<Value> {
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let displayed = index.displayed_fields(&rtxn)?;
    let searchable = index.user_defined_searchable_fields(&rtxn)?;
    let sortable = index.sortable_fields(&rtxn)?;
    let distinct = index.distinct_field(&rtxn)?;
    let rules = index.filterable_attributes_rules(&rtxn)?;
    let orders = index.sort_facet_values_by(&rtxn)?;
    let ranking = index.criteria(&rtxn)?;
    let within = |name: &str, list: &Option<Vec<&str>>| {
        list.as_ref().is_none_or(|list| list.iter().any(|known| is_faceted_by(name, known)))
    };
    let map = index.fields_ids_map(&rtxn)?;
    let mut fields: Vec<(String, Value)> = Vec::new();
    for name in map.names() {
        let rule = rules.iter().find(|rule| rule.match_str(name) == PatternMatch::Match);
        let features = rule.map(FilterableAttributesRule::features);
        let (facet_search, equality, comparison) = features.map_or((false, false, false), |features| {
            (features.is_facet_searchable(), features.is_filterable_equality(), features.is_filterable_comparison())
        });
        let ascending = ranking.iter().find_map(|rule| match rule {
            Criterion::Asc(field) if field == name => Some("asc"),
            Criterion::Desc(field) if field == name => Some("desc"),
            Criterion::Asc(_)
            | Criterion::Desc(_)
            | Criterion::Words
            | Criterion::Typo
            | Criterion::Proximity
            | Criterion::Attribute
            | Criterion::Sort
            | Criterion::Exactness => None,
        });
        let mut ranking_rule = json!({ "enabled": ascending.is_some() });
        if let Some(order) = ascending {
            ranking_rule["order"] = json!(order);
        }
        let sort_by = match orders.get(name) {
            OrderBy::Lexicographic => "alpha",
            OrderBy::Count => "count",
        };
        let field = json!({
            "name": name,
            "displayed": { "enabled": within(name, &displayed) },
            "searchable": { "enabled": within(name, &searchable) },
            "sortable": { "enabled": sortable.iter().any(|known| is_faceted_by(name, known)) },
            "distinct": { "enabled": distinct.is_some_and(|known| known == name) },
            "rankingRule": ranking_rule,
            "filterable": {
                "enabled": facet_search || equality || comparison,
                "sortBy": sort_by,
                "facetSearch": facet_search,
                "equality": equality,
                "comparison": comparison,
            },
            "localized": { "locales": [] },
        });
        if query.admits(name, &field) {
            fields.push((name.to_owned(), field));
        }
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let total = fields.len();
    let results: Vec<Value> = fields.into_iter().skip(query.offset).take(query.limit).map(|(_, field)| field).collect();
    Ok(json!({ "results": results, "offset": query.offset, "limit": query.limit, "total": total }))
}
