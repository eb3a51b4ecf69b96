//! Taking what is ours out of what clients see.
//!
//! Invariant: a member that Miroir added at the top of a document never reaches a client, and every other member does.

use crate::base::inert;
use crate::base::json::visit::key_text;
use crate::base::json::{self, SyntaxError};

/// How the names of our fields start.
pub(crate) const PREFIX: &str = inert::RESERVED_PREFIX;

/// Whether an attribute's name, or a member's raw key without its quotes, is that of a field that Miroir adds.
#[inline]
pub fn is_ours(key: &[u8]) -> bool {
    let named = |key: &[u8]| key == inert::SHARD_FIELD.as_bytes() || key == inert::UPDATED_AT_FIELD.as_bytes();
    named(key) || (key.contains(&b'\\') && named(key_text(key).as_bytes()))
}

/// Whether a member of a stored document, given by its raw key without quotes and its raw value, was added by Miroir.
/// While anti-entropy is off a client may have an `_miroir_updated_at` of its own, but never one in inert text.
#[inline]
pub fn is_our_member(key: &[u8], value: &[u8]) -> bool {
    is_ours(key) && (inert::starts_inert(value) || key_text(key) == inert::SHARD_FIELD)
}

/// Appends a raw document without our fields.
///
/// # Errors
/// When `raw` is not a JSON object; `out` is then as before.
pub fn document(raw: &[u8], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
    json::copy_without(raw, out, |member| is_our_member(member.key, member.value)).map(drop)
}

/// Appends the raw `fieldDistribution` of an index's statistics without our fields.
///
/// # Errors
/// When `raw` is not a JSON object; `out` is then as before.
pub fn field_distribution(raw: &[u8], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
    json::copy_without(raw, out, |member| is_ours(member.key)).map(drop)
}

/// A node's error text as if our fields and our rule in `filterableAttributes`, which is the first, were not there.
pub fn message(text: &str) -> String {
    let mut cleaned = without_names(&without_shard_clause(without_wrapper(text)));
    for (empty, kind) in [
        (" Available filterable attributes patterns are: ``.", "filterable"),
        (" Available filterable attribute patterns are: .", "filterable"),
        (" Available filterable attribute patterns are: ``.", "filterable"),
        (" Available sortable attributes are: ``.", "sortable"),
    ] {
        if cleaned.contains(empty) {
            cleaned = cleaned.replace(empty, &format!(" This index does not have configured {kind} attributes."));
        }
    }
    with_rules_renumbered(&cleaned)
}

/// A node's error text with the index called as the client calls it.
pub fn index_name(text: &str, physical: &str, uid: &str) -> String {
    if physical == uid { text.to_owned() } else { text.replace(&format!("`{physical}`"), &format!("`{uid}`")) }
}

/// What a function says of itself, without where in the wrapper of functions it was called.
fn without_wrapper(text: &str) -> &str {
    text.split_once("\nin call to function 'eval' (").map_or(text, |(own, _)| own)
}

/// Of a filter quoted as `34:37 ("_miroir_shard" IN ["…"]) AND ("a" = "1")`, where the numbers are columns, what is the
/// client's: `2:5 "a" = "1"`.
fn without_shard_clause(text: &str) -> String {
    const HEAD: &str = "(\"_miroir_shard\" IN [";
    const TAIL: &str = "]) AND ";
    let quoted = || {
        let (before, ours) = text.split_once(HEAD)?;
        let (shards, client) = ours.split_once(TAIL)?;
        let (sentence, columns) = before.rsplit_once('\n')?;
        let (from, to) = columns.trim_end().split_once(':')?;
        let unwrapped =
            client.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).filter(|inner| is_one_group(inner));
        let removed = HEAD.len() + shards.chars().count() + TAIL.len() + usize::from(unwrapped.is_some());
        let from = from.parse::<usize>().ok()?.saturating_sub(removed);
        let to = to.parse::<usize>().ok()?.saturating_sub(removed);
        Some(format!("{sentence}\n{from}:{to} {}", unwrapped.unwrap_or(client)))
    };
    quoted().unwrap_or_else(|| text.to_owned())
}

/// Whether no bracket in `inner` closes one that was opened before it, strings aside.
fn is_one_group(inner: &str) -> bool {
    let (mut depth, mut in_string) = (0i64, false);
    inner.chars().all(|c| {
        match c {
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth -= 1,
            _ => {}
        }
        depth >= 0
    })
}

/// `text` without our names, each with one comma of the list that it stands in, and with its own backticks, if any.
fn without_names(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (before, from) = rest.split_at(at);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '*');
        let mut behind = from.trim_start_matches(is_name);
        cleaned.push_str(before);
        // `a`, `ours`, `b` has backticks around each name, `a, ours, b` only around the list.
        let listed = cleaned.ends_with("`, `") || behind.starts_with("`, `");
        if listed && cleaned.ends_with('`') && behind.starts_with('`') {
            cleaned.pop();
            behind = behind.strip_prefix('`').unwrap_or(behind);
        }
        if let Some(next) = behind.strip_prefix(", ") {
            behind = next;
        } else if cleaned.ends_with(", ") {
            cleaned.truncate(cleaned.len() - 2);
        }
        rest = behind;
    }
    cleaned.push_str(rest);
    cleaned
}

/// `rule #3` becomes `rule #2`.
fn with_rules_renumbered(text: &str) -> String {
    const RULE: &str = "rule #";
    let mut renumbered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(RULE) {
        let (before, from) = rest.split_at(at + RULE.len());
        renumbered.push_str(before);
        let behind = from.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = from.get(..from.len() - behind.len()).unwrap_or_default();
        match number.parse::<u64>() {
            Ok(number) => renumbered.push_str(&number.saturating_sub(1).to_string()),
            Err(_) => renumbered.push_str(number),
        }
        rest = behind;
    }
    renumbered.push_str(rest);
    renumbered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(raw: &str) -> String {
        let mut out = Vec::new();
        document(raw.as_bytes(), &mut out).expect("an object");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn documents_lose_our_fields_and_nothing_else() {
        let stamped = format!(r#"{{"id":1,"_miroir_shard":"x","_miroir_updated_at":"{}"}}"#, inert::encode_millis(7));
        assert_eq!(stripped(&stamped), r#"{"id":1}"#);
        let theirs = r#"{"_miroir_updated_at":"y","_miroir_expires_at":5,"_miroir_x":1}"#;
        assert_eq!(stripped(theirs), theirs);
        assert_eq!(stripped(r#"{"_miroir_shard":"x","n":1.0, "a":{"_miroir":2}}"#), r#"{"n":1.0, "a":{"_miroir":2}}"#);
        assert_eq!(stripped(r#"{"\u005fmiroir_shard":"x"}"#), "{}");
        assert!(document(b"[1]", &mut Vec::new()).is_err());
    }

    #[test]
    fn messages_lose_our_names_in_every_kind_of_list() {
        let listed = "Pattern `z` is not filterable. Available filterable attributes patterns are:";
        assert_eq!(message(&format!("{listed} `_geo, _miroir_shard, a`.")), format!("{listed} `_geo, a`."));
        assert_eq!(message(&format!("{listed} `_miroir_shard, a`.")), format!("{listed} `a`."));
        assert_eq!(
            message(&format!("{listed} `_geo, _miroir_shard, _miroir_updated_at`.")),
            format!("{listed} `_geo`.")
        );
        assert_eq!(
            message(&format!("{listed} `_miroir_shard`.")),
            "Pattern `z` is not filterable. This index does not have configured filterable attributes."
        );
        let ticked = "Available filterable attribute patterns are:";
        assert_eq!(
            message(&format!("{ticked} `_geo`, `_miroir_shard`, `a`.\n2:5 z")),
            format!("{ticked} `_geo`, `a`.\n2:5 z")
        );
        assert_eq!(message(&format!("{ticked} `_miroir_shard`, `a`.")), format!("{ticked} `a`."));
        assert_eq!(message(&format!("{ticked} `a`, `_miroir_shard`.")), format!("{ticked} `a`."));
        assert_eq!(
            message("Attribute `z` is not filterable. Available filterable attribute patterns are: `_miroir_shard`."),
            "Attribute `z` is not filterable. This index does not have configured filterable attributes."
        );
    }

    #[test]
    fn quoted_filters_lose_our_clause() {
        let ours = "(\"_miroir_shard\" IN [\"\u{2055}\"]) AND ";
        assert_eq!(message(&format!("No.\n34:37 {ours}(\"zzz\" = \"1\")")), "No.\n2:5 \"zzz\" = \"1\"");
        let two = "(\"n\" = \"1)\") AND (\"zzz\" > \"1\")";
        assert_eq!(message(&format!("No.\n51:54 {ours}{two}")), format!("No.\n20:23 {two}"));
        assert_eq!(message("No.\n2:5 \"zzz\" = \"1\""), "No.\n2:5 \"zzz\" = \"1\"");
    }

    #[test]
    fn rules_are_counted_as_the_client_counts_them() {
        assert_eq!(message("matched rule #3 in x, enable it in rule #3"), "matched rule #2 in x, enable it in rule #2");
        assert_eq!(message("no rule # here"), "no rule # here");
    }
}
