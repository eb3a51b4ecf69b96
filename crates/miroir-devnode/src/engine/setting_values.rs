//! The values of settings that are more than a list or a scalar.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;

use deserr::Deserr;
use deserr::errors::JsonError;
use milli_core::heed::RoTxn;
use milli_core::index::PrefixSearch;
use milli_core::proximity::ProximityPrecision;
use milli_core::update::{Setting as Change, Settings as Builder};
use milli_core::{AttributePatterns, Criterion, DEFAULT_VALUES_PER_FACET, Index, LocalizedAttributesRule, OrderBy};
use serde_json::{Value, json};

use super::locale::Locale;
use super::settings::Setting;
use crate::error::ApiResult;

type Read = Result<Value, milli_core::Error>;

/// Hits beyond this rank are not returned unless `pagination.maxTotalHits` says otherwise.
pub const DEFAULT_MAX_TOTAL_HITS: usize = 1000;

/// Reads ranking rules.
///
/// # Errors
/// When the value is not a list of known rules.
pub fn ranking_rules(setting: &Setting, value: Value) -> ApiResult<Vec<Criterion>> {
    let rules: Vec<String> = setting.typed(value)?;
    let parse = |(position, rule): (usize, String)| {
        Criterion::from_str(&rule)
            .map_err(|error| setting.error(format!("Invalid value at `.{}[{position}]`: {error}", setting.name)))
    };
    rules.into_iter().enumerate().map(parse).collect()
}

/// How precisely distances between words are measured.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase)]
pub enum Precision {
    /// In words.
    ByWord,
    /// Within an attribute or not.
    ByAttribute,
}

impl From<Precision> for ProximityPrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::ByWord => Self::ByWord,
            Precision::ByAttribute => Self::ByAttribute,
        }
    }
}

/// The name of a precision.
pub fn precision_name(precision: ProximityPrecision) -> Value {
    match precision {
        ProximityPrecision::ByWord => json!("byWord"),
        ProximityPrecision::ByAttribute => json!("byAttribute"),
    }
}

/// When prefixes are prepared.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase)]
pub enum Prefixes {
    /// While indexing.
    IndexingTime,
    /// Never: words must be complete.
    Disabled,
}

impl From<Prefixes> for PrefixSearch {
    fn from(prefixes: Prefixes) -> Self {
        match prefixes {
            Prefixes::IndexingTime => Self::IndexingTime,
            Prefixes::Disabled => Self::Disabled,
        }
    }
}

/// The name of a prefix mode.
pub fn prefixes_name(prefixes: PrefixSearch) -> Value {
    match prefixes {
        PrefixSearch::IndexingTime => json!("indexingTime"),
        PrefixSearch::Disabled => json!("disabled"),
    }
}

/// Calls `set` or `reset` when there is a change.
fn change<T>(
    builder: &mut Builder<'_, '_, '_>,
    change: Change<T>,
    set: impl FnOnce(&mut Builder<'_, '_, '_>, T),
    reset: impl FnOnce(&mut Builder<'_, '_, '_>),
) {
    match change {
        Change::Set(value) => set(builder, value),
        Change::Reset => reset(builder),
        Change::NotSet => {}
    }
}

/// From which length on words may contain typos.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase, deny_unknown_fields)]
pub struct MinWordSize {
    #[deserr(default)]
    one_typo: Change<u8>,
    #[deserr(default)]
    two_typos: Change<u8>,
}

/// `typoTolerance`.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase, deny_unknown_fields)]
pub struct TypoTolerance {
    #[deserr(default)]
    enabled: Change<bool>,
    #[deserr(default)]
    min_word_size_for_typos: Change<MinWordSize>,
    #[deserr(default)]
    disable_on_words: Change<std::collections::BTreeSet<String>>,
    #[deserr(default)]
    disable_on_attributes: Change<std::collections::BTreeSet<String>>,
    #[deserr(default)]
    disable_on_numbers: Change<bool>,
}

impl TypoTolerance {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// When two typos are allowed in shorter words than one.
    pub fn check(&self, setting: &Setting) -> ApiResult<()> {
        if let Change::Set(MinWordSize { one_typo: Change::Set(one), two_typos: Change::Set(two) }) =
            self.min_word_size_for_typos
            && one > two
        {
            return Err(setting.error(format!(
                "Invalid value at `.typoTolerance.minWordSizeForTypos`: `minWordSizeForTypos` setting is invalid. \
                 `oneTypo` and `twoTypos` fields should be between `0` and `255`, and `twoTypos` should be greater \
                 or equals to `oneTypo` but found `oneTypo: {one}` and twoTypos: {two}`."
            )));
        }
        Ok(())
    }

    /// Hands the given members to the engine.
    pub fn apply(self, builder: &mut Builder<'_, '_, '_>) {
        change(builder, self.enabled, |b, on| b.set_autorize_typos(on), |b| b.reset_authorize_typos());
        match self.min_word_size_for_typos {
            Change::Set(sizes) => {
                change(
                    builder,
                    sizes.one_typo,
                    |b, size| b.set_min_word_len_one_typo(size),
                    |b| b.reset_min_word_len_one_typo(),
                );
                change(
                    builder,
                    sizes.two_typos,
                    |b, size| b.set_min_word_len_two_typos(size),
                    |b| b.reset_min_word_len_two_typos(),
                );
            }
            Change::Reset => {
                builder.reset_min_word_len_one_typo();
                builder.reset_min_word_len_two_typos();
            }
            Change::NotSet => {}
        }
        change(builder, self.disable_on_words, |b, words| b.set_exact_words(words), |b| b.reset_exact_words());
        change(
            builder,
            self.disable_on_attributes,
            |b, names| b.set_exact_attributes(names.into_iter().collect()),
            |b| b.reset_exact_attributes(),
        );
        change(
            builder,
            self.disable_on_numbers,
            |b, on| b.set_disable_on_numbers(on),
            |b| b.reset_disable_on_numbers(),
        );
    }

    /// Resets every member.
    pub fn reset(builder: &mut Builder<'_, '_, '_>) {
        builder.reset_authorize_typos();
        builder.reset_min_word_len_one_typo();
        builder.reset_min_word_len_two_typos();
        builder.reset_exact_words();
        builder.reset_exact_attributes();
        builder.reset_disable_on_numbers();
    }

    /// What the engine holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Read {
        let words = match index.exact_words(rtxn)? {
            Some(words) => words.stream().into_strs()?,
            None => Vec::new(),
        };
        let mut attributes = index.exact_attributes(rtxn)?;
        attributes.sort_unstable();
        attributes.dedup();
        Ok(json!({
            "enabled": index.authorize_typos(rtxn)?,
            "minWordSizeForTypos": {
                "oneTypo": index.min_word_len_one_typo(rtxn)?,
                "twoTypos": index.min_word_len_two_typos(rtxn)?,
            },
            "disableOnWords": words,
            "disableOnAttributes": attributes,
            "disableOnNumbers": index.disabled_typos_terms(rtxn)?.disable_on_numbers,
        }))
    }
}

/// How facet values are ordered.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase)]
pub enum FacetOrder {
    /// By value.
    Alpha,
    /// By falling count.
    Count,
}

/// `faceting`.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase, deny_unknown_fields)]
pub struct Faceting {
    #[deserr(default)]
    max_values_per_facet: Change<usize>,
    #[deserr(default)]
    sort_facet_values_by: Change<BTreeMap<String, FacetOrder>>,
}

impl Faceting {
    /// Hands the given members to the engine.
    pub fn apply(self, builder: &mut Builder<'_, '_, '_>) {
        change(
            builder,
            self.max_values_per_facet,
            |b, most| b.set_max_values_per_facet(most),
            |b| b.reset_max_values_per_facet(),
        );
        let order = |(name, order)| match order {
            FacetOrder::Alpha => (name, OrderBy::Lexicographic),
            FacetOrder::Count => (name, OrderBy::Count),
        };
        change(
            builder,
            self.sort_facet_values_by,
            |b, orders| b.set_sort_facet_values_by(orders.into_iter().map(order).collect()),
            |b| b.reset_sort_facet_values_by(),
        );
    }

    /// Resets every member.
    pub fn reset(builder: &mut Builder<'_, '_, '_>) {
        builder.reset_max_values_per_facet();
        builder.reset_sort_facet_values_by();
    }

    /// What the engine holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Read {
        let most = index.max_values_per_facet(rtxn)?;
        let name = |(facet, order)| match order {
            OrderBy::Lexicographic => (facet, "alpha"),
            OrderBy::Count => (facet, "count"),
        };
        let orders: BTreeMap<String, &str> = index.sort_facet_values_by(rtxn)?.into_iter().map(name).collect();
        Ok(json!({
            "maxValuesPerFacet": most.unwrap_or(DEFAULT_VALUES_PER_FACET as u64),
            "sortFacetValuesBy": orders,
        }))
    }
}

/// `pagination`.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase, deny_unknown_fields)]
pub struct Pagination {
    #[deserr(default)]
    max_total_hits: Change<NonZeroUsize>,
}

impl Pagination {
    /// Hands the given member to the engine.
    pub fn apply(self, builder: &mut Builder<'_, '_, '_>) {
        change(
            builder,
            self.max_total_hits,
            |b, most| b.set_pagination_max_total_hits(most.get()),
            |b| b.reset_pagination_max_total_hits(),
        );
    }

    /// What the engine holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Read {
        let most = index.pagination_max_total_hits(rtxn)?;
        Ok(json!({"maxTotalHits": most.unwrap_or(DEFAULT_MAX_TOTAL_HITS as u64)}))
    }
}

/// One rule of `localizedAttributes`.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = JsonError, rename_all = camelCase, deny_unknown_fields)]
pub struct LocalizedRule {
    attribute_patterns: AttributePatterns,
    locales: Vec<Locale>,
}

impl From<LocalizedRule> for LocalizedAttributesRule {
    fn from(rule: LocalizedRule) -> Self {
        Self {
            attribute_patterns: rule.attribute_patterns,
            locales: rule.locales.into_iter().map(|locale| locale.0).collect(),
        }
    }
}

impl LocalizedRule {
    /// What the engine holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Read {
        let Some(rules) = index.localized_attributes_rules(rtxn)? else { return Ok(Value::Null) };
        let rule = |rule: LocalizedAttributesRule| {
            let locales: Vec<_> = rule.locales.iter().map(|language| language.code()).collect();
            json!({"attributePatterns": rule.attribute_patterns, "locales": locales})
        };
        Ok(rules.into_iter().map(rule).collect())
    }
}
