//! Index settings: one table row per setting says how it is checked, applied, reset and read back.
//!
//! A setting is checked when a request arrives and applied when its task runs. It is read back from the engine, so what
//! a client sees is what the engine made of it.

use std::collections::{BTreeMap, BTreeSet};

use deserr::Deserr;
use deserr::errors::JsonError;
use milli_core::heed::RoTxn;
use milli_core::update::Settings as Builder;
use milli_core::{FilterableAttributesRule, Index};
use serde_json::{Map, Value, json};

use super::embedder_settings;
use super::setting_values as values;
use crate::error::{ApiError, ApiResult};
use crate::fields::{typed, unknown_field};

/// The verb that changes a sub-setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The value is replaced as a whole.
    Put,
    /// Given members are changed, others stay.
    Patch,
}

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its member name, `rankingRules`.
    pub name: &'static str,
    /// Its route below `settings/`, `ranking-rules`.
    pub route: &'static str,
    /// How the route changes it.
    pub verb: Verb,
    code: &'static str,
    check: fn(&Setting, Value) -> ApiResult<()>,
    apply: fn(&Setting, &mut Builder<'_, '_, '_>, Value) -> ApiResult<()>,
    reset: fn(&mut Builder<'_, '_, '_>),
    read: fn(&Index, &RoTxn<'_>) -> Result<Value, milli_core::Error>,
}

impl Setting {
    /// Reads `value` as this setting's type.
    ///
    /// # Errors
    /// With this setting's code.
    pub fn typed<T: Deserr<JsonError>>(&self, value: Value) -> ApiResult<T> {
        typed(self.name, value, self.code)
    }

    /// An error about this setting's value.
    pub fn error(&self, message: impl Into<String>) -> ApiError {
        ApiError::new(self.code, message)
    }

    /// Checks a value before its task is accepted. `null` resets and is always fine.
    ///
    /// # Errors
    /// With this setting's code.
    pub fn check(&self, value: Value) -> ApiResult<()> {
        if value.is_null() { Ok(()) } else { (self.check)(self, value) }
    }

    /// What the engine holds for this setting.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(&self, index: &Index, rtxn: &RoTxn<'_>) -> ApiResult<Value> {
        (self.read)(index, rtxn).map_err(ApiError::from)
    }
}

/// Checks only that a value has the type `T`.
fn has_type<T: Deserr<JsonError>>(setting: &Setting, value: Value) -> ApiResult<()> {
    setting.typed::<T>(value).map(drop)
}

/// A row whose value is of one type, handed to one builder method.
macro_rules! simple {
    ($name:literal, $route:literal, $code:literal, $type:ty, $set:ident, $reset:ident, $read:expr) => {
        Setting {
            name: $name,
            route: $route,
            verb: Verb::Put,
            code: $code,
            check: has_type::<$type>,
            apply: |setting, builder, value| {
                builder.$set(setting.typed::<$type>(value)?.into_iter().collect());
                Ok(())
            },
            reset: |builder| builder.$reset(),
            read: $read,
        }
    };
}

/// A list of attributes in which `*` stands for the default, all of them.
macro_rules! attributes {
    ($name:literal, $route:literal, $code:literal, $set:ident, $reset:ident, $read:expr) => {
        Setting {
            name: $name,
            route: $route,
            verb: Verb::Put,
            code: $code,
            check: has_type::<Vec<String>>,
            apply: |setting, builder, value| {
                let names: Vec<String> = setting.typed(value)?;
                if names.iter().any(|name| name == "*") {
                    builder.$reset();
                } else {
                    builder.$set(names);
                }
                Ok(())
            },
            reset: |builder| builder.$reset(),
            read: $read,
        }
    };
}

/// Every setting, in the order in which they are shown.
pub static SETTINGS: &[Setting] = &[
    attributes!(
        "displayedAttributes",
        "displayed-attributes",
        "invalid_settings_displayed_attributes",
        set_displayed_fields,
        reset_displayed_fields,
        |index, rtxn| Ok(index.displayed_fields(rtxn)?.map_or_else(|| json!(["*"]), |names| json!(names)))
    ),
    attributes!(
        "searchableAttributes",
        "searchable-attributes",
        "invalid_settings_searchable_attributes",
        set_searchable_fields,
        reset_searchable_fields,
        |index, rtxn| {
            let names = index.user_defined_searchable_fields(rtxn)?;
            Ok(names.map_or_else(|| json!(["*"]), |names| json!(names)))
        }
    ),
    simple!(
        "filterableAttributes",
        "filterable-attributes",
        "invalid_settings_filterable_attributes",
        Vec<FilterableAttributesRule>,
        set_filterable_fields,
        reset_filterable_fields,
        |index, rtxn| Ok(json!(index.filterable_attributes_rules(rtxn)?))
    ),
    simple!(
        "sortableAttributes",
        "sortable-attributes",
        "invalid_settings_sortable_attributes",
        BTreeSet<String>,
        set_sortable_fields,
        reset_sortable_fields,
        |index, rtxn| Ok(json!(index.sortable_fields(rtxn)?.into_iter().collect::<BTreeSet<_>>()))
    ),
    Setting {
        name: "rankingRules",
        route: "ranking-rules",
        verb: Verb::Put,
        code: "invalid_settings_ranking_rules",
        check: |setting, value| values::ranking_rules(setting, value).map(drop),
        apply: |setting, builder, value| {
            builder.set_criteria(values::ranking_rules(setting, value)?);
            Ok(())
        },
        reset: |builder| builder.reset_criteria(),
        read: |index, rtxn| {
            let rules = index.criteria(rtxn)?;
            Ok(json!(rules.iter().map(ToString::to_string).collect::<Vec<_>>()))
        },
    },
    simple!(
        "stopWords",
        "stop-words",
        "invalid_settings_stop_words",
        BTreeSet<String>,
        set_stop_words,
        reset_stop_words,
        |index, rtxn| match index.stop_words(rtxn)? {
            Some(words) => Ok(json!(words.stream().into_strs()?)),
            None => Ok(json!([])),
        }
    ),
    simple!(
        "nonSeparatorTokens",
        "non-separator-tokens",
        "invalid_settings_non_separator_tokens",
        BTreeSet<String>,
        set_non_separator_tokens,
        reset_non_separator_tokens,
        |index, rtxn| Ok(json!(index.non_separator_tokens(rtxn)?.unwrap_or_default()))
    ),
    simple!(
        "separatorTokens",
        "separator-tokens",
        "invalid_settings_separator_tokens",
        BTreeSet<String>,
        set_separator_tokens,
        reset_separator_tokens,
        |index, rtxn| Ok(json!(index.separator_tokens(rtxn)?.unwrap_or_default()))
    ),
    simple!(
        "dictionary",
        "dictionary",
        "invalid_settings_dictionary",
        BTreeSet<String>,
        set_dictionary,
        reset_dictionary,
        |index, rtxn| Ok(json!(index.dictionary(rtxn)?.unwrap_or_default()))
    ),
    simple!(
        "synonyms",
        "synonyms",
        "invalid_settings_synonyms",
        BTreeMap<String, Vec<String>>,
        set_synonyms,
        reset_synonyms,
        |index, rtxn| Ok(json!(index.user_defined_synonyms(rtxn)?))
    ),
    Setting {
        name: "distinctAttribute",
        route: "distinct-attribute",
        verb: Verb::Put,
        code: "invalid_settings_distinct_attribute",
        check: has_type::<String>,
        apply: |setting, builder, value| {
            builder.set_distinct_field(setting.typed(value)?);
            Ok(())
        },
        reset: |builder| builder.reset_distinct_field(),
        read: |index, rtxn| Ok(json!(index.distinct_field(rtxn)?)),
    },
    Setting {
        name: "proximityPrecision",
        route: "proximity-precision",
        verb: Verb::Put,
        code: "invalid_settings_proximity_precision",
        check: has_type::<values::Precision>,
        apply: |setting, builder, value| {
            builder.set_proximity_precision(setting.typed::<values::Precision>(value)?.into());
            Ok(())
        },
        reset: |builder| builder.reset_proximity_precision(),
        read: |index, rtxn| Ok(values::precision_name(index.proximity_precision(rtxn)?.unwrap_or_default())),
    },
    Setting {
        name: "typoTolerance",
        route: "typo-tolerance",
        verb: Verb::Patch,
        code: "invalid_settings_typo_tolerance",
        check: |setting, value| setting.typed::<values::TypoTolerance>(value)?.check(setting),
        apply: |setting, builder, value| {
            setting.typed::<values::TypoTolerance>(value)?.apply(builder);
            Ok(())
        },
        reset: values::TypoTolerance::reset,
        read: values::TypoTolerance::read,
    },
    Setting {
        name: "faceting",
        route: "faceting",
        verb: Verb::Patch,
        code: "invalid_settings_faceting",
        check: has_type::<values::Faceting>,
        apply: |setting, builder, value| {
            setting.typed::<values::Faceting>(value)?.apply(builder);
            Ok(())
        },
        reset: values::Faceting::reset,
        read: values::Faceting::read,
    },
    Setting {
        name: "pagination",
        route: "pagination",
        verb: Verb::Patch,
        code: "invalid_settings_pagination",
        check: has_type::<values::Pagination>,
        apply: |setting, builder, value| {
            setting.typed::<values::Pagination>(value)?.apply(builder);
            Ok(())
        },
        reset: |builder| builder.reset_pagination_max_total_hits(),
        read: values::Pagination::read,
    },
    Setting {
        name: "embedders",
        route: "embedders",
        verb: Verb::Patch,
        code: "invalid_settings_embedders",
        check: embedder_settings::check,
        apply: |setting, builder, value| {
            builder.set_embedder_settings(setting.typed(value)?);
            Ok(())
        },
        reset: |builder| builder.reset_embedder_settings(),
        read: embedder_settings::read,
    },
    Setting {
        name: "searchCutoffMs",
        route: "search-cutoff-ms",
        verb: Verb::Put,
        code: "invalid_settings_search_cutoff_ms",
        check: has_type::<u64>,
        apply: |setting, builder, value| {
            builder.set_search_cutoff(setting.typed(value)?);
            Ok(())
        },
        reset: |builder| builder.reset_search_cutoff(),
        read: |index, rtxn| Ok(json!(index.search_cutoff(rtxn)?)),
    },
    Setting {
        name: "localizedAttributes",
        route: "localized-attributes",
        verb: Verb::Put,
        code: "invalid_settings_localized_attributes",
        check: has_type::<Vec<values::LocalizedRule>>,
        apply: |setting, builder, value| {
            let rules: Vec<values::LocalizedRule> = setting.typed(value)?;
            builder.set_localized_attributes_rules(rules.into_iter().map(Into::into).collect());
            Ok(())
        },
        reset: |builder| builder.reset_localized_attributes_rules(),
        read: values::LocalizedRule::read,
    },
    Setting {
        name: "facetSearch",
        route: "facet-search",
        verb: Verb::Put,
        code: "invalid_settings_facet_search",
        check: has_type::<bool>,
        apply: |setting, builder, value| {
            builder.set_facet_search(setting.typed(value)?);
            Ok(())
        },
        reset: |builder| builder.reset_facet_search(),
        read: |index, rtxn| Ok(json!(index.facet_search(rtxn)?)),
    },
    Setting {
        name: "prefixSearch",
        route: "prefix-search",
        verb: Verb::Put,
        code: "invalid_settings_prefix_search",
        check: has_type::<values::Prefixes>,
        apply: |setting, builder, value| {
            builder.set_prefix_search(setting.typed::<values::Prefixes>(value)?.into());
            Ok(())
        },
        reset: |builder| builder.reset_prefix_search(),
        read: |index, rtxn| Ok(values::prefixes_name(index.prefix_search(rtxn)?.unwrap_or_default())),
    },
];

/// Checks a settings object before its task is accepted.
///
/// # Errors
/// With the code of the first setting that is wrong; `bad_request` for a member that is no setting.
pub fn check(settings: &Map<String, Value>) -> ApiResult<()> {
    for (name, value) in settings {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let accepted: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            return Err(unknown_field(name, &accepted));
        };
        setting.check(value.clone())?;
    }
    Ok(())
}

/// Hands every given setting to the engine's builder.
///
/// # Errors
/// When a value no longer has the type it was checked for.
pub fn apply(builder: &mut Builder<'_, '_, '_>, settings: &Map<String, Value>) -> ApiResult<()> {
    for setting in SETTINGS {
        match settings.get(setting.name) {
            None => {}
            Some(Value::Null) => (setting.reset)(builder),
            Some(value) => (setting.apply)(setting, builder, value.clone())?,
        }
    }
    Ok(())
}

/// All settings as the engine holds them.
///
/// # Errors
/// When the index cannot be read.
pub fn read_all(index: &Index, rtxn: &RoTxn<'_>) -> ApiResult<Map<String, Value>> {
    SETTINGS.iter().map(|setting| Ok((setting.name.to_owned(), setting.read(index, rtxn)?))).collect()
}

/// Settings that reset everything.
pub fn all_reset() -> Map<String, Value> {
    SETTINGS.iter().map(|setting| (setting.name.to_owned(), Value::Null)).collect()
}

/// The same settings with every API key made unreadable.
pub fn without_secrets(mut settings: Map<String, Value>) -> Map<String, Value> {
    if let Some(embedders) = settings.get_mut("embedders") {
        embedder_settings::hide_secrets(embedders);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(settings: Value) -> String {
        check(settings.as_object().unwrap()).unwrap_err().code
    }

    #[test]
    fn wrong_values_carry_their_settings_code() {
        assert_eq!(code(json!({"rankingRules": ["nonsense rule"]})), "invalid_settings_ranking_rules");
        assert_eq!(code(json!({"stopWords": "the"})), "invalid_settings_stop_words");
        assert_eq!(code(json!({"pagination": {"maxTotalHits": 0}})), "invalid_settings_pagination");
        assert_eq!(code(json!({"faceting": {"nope": 0}})), "invalid_settings_faceting");
        let sizes = json!({"typoTolerance": {"minWordSizeForTypos": {"oneTypo": 9, "twoTypos": 5}}});
        assert_eq!(code(sizes), "invalid_settings_typo_tolerance");
        assert_eq!(code(json!({"embedders": {"a": {"source": "nope"}}})), "invalid_settings_embedders");
        assert_eq!(code(json!({"nope": 1})), "bad_request");
    }

    #[test]
    fn null_is_always_a_value() {
        assert!(check(&all_reset()).is_ok());
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = json!({"embedders": {"a": {"source": "openAi", "apiKey": "abcdefghijklmno"}}});
        let shown = Value::Object(without_secrets(settings.as_object().unwrap().clone()));
        assert_eq!(shown["embedders"]["a"]["apiKey"], "abXXXX...");
    }
}
