//! Attributes that a node may never have met: it knows those of the documents that it holds, or has held, and one server
//! would know those of all.
//!
//! Two kinds of reads are refused by a node for that alone. A search in attributes that are not searchable by name but below
//! or like one that is (`attributesToSearchOn`); and documents in the order of their distance (`_geoPoint`), where no document
//! has a place. Such a node is asked again without what it does not know, which is what one server does with its documents:
//! it finds nothing in the attribute, and puts them last. Only when nobody knows an attribute is the request refused.

use std::collections::BTreeSet;

/// The attribute of places.
pub const GEO: &str = "_geo";
/// The code of a refusal to search in an attribute.
pub const NOT_SEARCHABLE: &str = "invalid_search_attributes_to_search_on";
/// The code of a refusal to sort documents by an attribute.
pub const NOT_SORTABLE: &str = "invalid_document_sort";

/// Of the attributes that are to be searched, those of which it depends on the documents whether they can be. `searchable`:
/// the list of the index's settings; `None`: all are, known or not.
pub fn doubtful<'a>(asked: &'a [String], searchable: Option<&[String]>) -> Vec<&'a str> {
    let Some(searchable) = searchable.filter(|list| !list.iter().any(|name| name == "*")) else { return Vec::new() };
    let depends = |name: &&String| *name != "*" && !searchable.contains(name);
    let mut found: Vec<&str> = asked.iter().filter(depends).map(String::as_str).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Of doubtful attributes, which may be patterns, those that none of the attributes is that a node knows.
pub fn unmet<'a>(doubtful: &[&'a str], known: &[String]) -> BTreeSet<&'a str> {
    let is_met = |asked: &str| known.iter().any(|name| name == asked || (asked.contains('*') && fits(asked, name)));
    doubtful.iter().copied().filter(|asked| !is_met(asked)).collect()
}

/// As Meilisearch compares a pattern with a name: a star may stand at the beginning, at the end, or at both.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => true,
        (Some(rest), Some(_)) => rest.strip_suffix('*').is_some_and(|inner| name.contains(inner)),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// An attribute that is unmet by each of those who answered; none are asked: none.
pub fn met_by_nobody<'a>(mut answered: impl Iterator<Item = &'a BTreeSet<String>>) -> Option<&'a str> {
    let first = answered.next()?;
    let rest: Vec<&BTreeSet<String>> = answered.collect();
    first.iter().map(String::as_str).find(|name| rest.iter().all(|other| other.contains(*name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_attributes_below_or_like_searchable_ones_depend_on_the_documents() {
        let asked = list(&["title", "tags.a", "*", "tag*", "tags.a"]);
        assert_eq!(doubtful(&asked, Some(&list(&["title", "tags"]))), ["tag*", "tags.a"]);
        assert!(doubtful(&asked, None).is_empty());
        assert!(doubtful(&asked, Some(&list(&["*"]))).is_empty());
    }

    #[test]
    fn a_pattern_is_met_by_any_name_that_fits_it() {
        let known = list(&["title", "tags", "tags.level0"]);
        let met = |asked: &str| unmet(&[asked], &known).is_empty();
        for asked in ["tags.level0", "tags.*", "*level0", "*lev*", "ti*", "**"] {
            assert!(met(asked), "{asked}");
        }
        for asked in ["tags.level3", "tags.level3*", "*level3", "*lvl*", "level0", "t*e"] {
            assert!(!met(asked), "{asked}");
        }
    }

    proptest! {
        #[test]
        fn nobody_knows_what_everybody_lacks(
            lacking in prop::collection::vec(prop::collection::btree_set("[a-d]", 0..4), 0..5),
        ) {
            let expected = !lacking.is_empty() && ["a", "b", "c", "d"].iter().any(|n| lacking.iter().all(|l| l.contains(*n)));
            prop_assert_eq!(met_by_nobody(lacking.iter()).is_some(), expected);
        }
    }
}
