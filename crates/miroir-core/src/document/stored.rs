//! Documents on their way out: the id of one that a node holds.

use super::primary_key::{PrimaryKey, follow};
use crate::base::json::{self, SyntaxError};

/// The text of a stored document's id; `None` when no id stands where the primary key says.
///
/// # Errors
/// When the document is not a JSON object.
pub fn id_text(document: &[u8], primary_key: &str) -> Result<Option<String>, SyntaxError> {
    let key = PrimaryKey::new(primary_key);
    let (mut found, mut valid) = (None, true);
    for member in json::members(document)? {
        let member = member?;
        if let Some((_, rest)) = key.levels.iter().find(|(name, _)| member.key_is(name)) {
            valid &= follow(member.value, rest, &mut found).is_ok();
        }
    }
    Ok(found.filter(|_| valid).map(std::borrow::Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_where_the_primary_key_says() {
        for (document, key, id) in [
            (r#"{"a":1,"id":42}"#, "id", Some("42")),
            (r#"{"id":"x-1","a":{"id":2}}"#, "a.id", Some("2")),
            (r#"{"a.id":"dotted"}"#, "a.id", Some("dotted")),
            (r#"{"a":1}"#, "id", None),
            (r#"{"id":1.5}"#, "id", None),
            (r#"{"id":"with space"}"#, "id", None),
        ] {
            assert_eq!(id_text(document.as_bytes(), key), Ok(id.map(str::to_owned)), "{document}");
        }
        assert!(id_text(b"{", "id").is_err());
    }
}
