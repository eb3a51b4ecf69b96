//! What a client asks to be told of its queries beside their answers (`Meili-Include-Metadata`).
//!
//! All of it is Miroir's own to tell: nodes are not asked, who know an index by another name.

use crate::base::json;

/// What is told of one query.
#[derive(Clone, Copy, Debug)]
pub struct QueryMetadata<'a> {
    /// The words searched for, as far as the client gave any.
    pub query: Option<&'a str>,
    /// A number that no other query has.
    pub query_uid: &'a str,
    /// The index, by the client's name.
    pub index_uid: &'a str,
    /// Its primary key, if it has one yet.
    pub primary_key: Option<&'a str>,
}

impl QueryMetadata<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let members = [
            ("query", self.query),
            ("queryUid", Some(self.query_uid)),
            ("indexUid", Some(self.index_uid)),
            ("primaryKey", self.primary_key),
        ];
        out.push(b'{');
        let told = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (position, (name, value)) in told.enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::quote_into(name, out);
            out.push(b':');
            json::quote_into(value, out);
        }
        out.push(b'}');
    }
}

/// Puts what is told of its query behind an answer that was merged.
pub fn tell_of_query(metadata: &QueryMetadata<'_>, answer: &mut Vec<u8>) {
    append(answer, |out| metadata.write(out));
}

/// Puts what is told of each of its queries behind the answer to a federation.
pub fn tell_of_queries<'a>(metadata: impl IntoIterator<Item = QueryMetadata<'a>>, answer: &mut Vec<u8>) {
    append(answer, |out| {
        out.push(b'[');
        for (position, one) in metadata.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            one.write(out);
        }
        out.push(b']');
    });
}

/// `answer` is an object with members.
fn append(answer: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    if answer.pop_if(|last| *last == b'}').is_none() {
        return;
    }
    answer.extend_from_slice(b",\"metadata\":");
    value(answer);
    answer.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: QueryMetadata<'_> =
        QueryMetadata { query: None, query_uid: "u", index_uid: "a\"b", primary_key: Some("id") };

    #[test]
    fn an_answer_is_told_of_behind_its_members() {
        let mut answer = br#"{"hits":[]}"#.to_vec();
        tell_of_query(&ONE, &mut answer);
        let expected = r#"{"hits":[],"metadata":{"queryUid":"u","indexUid":"a\"b","primaryKey":"id"}}"#;
        assert_eq!(String::from_utf8(answer).expect("text"), expected);
        let mut answer = br#"{"hits":[]}"#.to_vec();
        let queries = [QueryMetadata { query: Some(""), primary_key: None, ..ONE }, ONE];
        tell_of_queries(queries, &mut answer);
        let expected = r#"{"hits":[],"metadata":[{"query":"","queryUid":"u","indexUid":"a\"b"},{"queryUid":"u","indexUid":"a\"b","primaryKey":"id"}]}"#;
        assert_eq!(String::from_utf8(answer).expect("text"), expected);
    }
}
