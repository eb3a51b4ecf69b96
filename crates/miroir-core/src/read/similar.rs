//! Documents similar to one: its vector is read where it is stored, and searched for everywhere.

use std::borrow::Cow;

use crate::base::error::{Code, ErrorBody};
use crate::base::json;
use crate::document::id::document_id_of;
use crate::read::search::{
    DEFAULT_LIMIT, Paging, SearchRequest, Unreadable, filter_fault, last_members, parameter_into, read,
};

/// A request for similar documents as the client sent it.
#[derive(Clone, Debug)]
pub struct SimilarRequest {
    /// The target.
    pub id: String,
    /// Whose vectors are compared.
    pub embedder: String,
    /// Which part of the ranked hits.
    pub paging: Paging,
    /// The client's filter as raw JSON.
    pub filter: Option<Vec<u8>>,
    /// Why every server refuses the request once it has found the index.
    pub fault: Option<ErrorBody>,
    /// Raw members that mean the same in a search.
    shared: Vec<Vec<u8>>,
}

impl SimilarRequest {
    /// From the raw JSON body.
    ///
    /// # Errors
    /// [`Unreadable`] when Meilisearch refuses it, as far as Miroir can tell.
    pub fn from_body(raw: &[u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(raw).map_err(|_| Unreadable)?;
        let (mut id, mut embedder, mut filter, mut shared) = (None, None, None, Vec::new());
        let (mut offset, mut limit, mut fault) = (0, DEFAULT_LIMIT, None);
        for (name, member) in last_members(raw)? {
            let value = member.value;
            match &*name {
                "id" => id = Some(id_of(value)),
                "embedder" => embedder = Some(json::unquote(value).ok_or(Unreadable)?.into_owned()),
                "offset" => offset = read(value)?,
                "limit" => limit = read(value)?,
                "filter" if value == b"null" => {}
                "filter" => {
                    fault = filter_fault(value).map(|fault| ErrorBody::new(Code::InvalidSimilarFilter, fault));
                    filter = Some(value.to_vec());
                }
                "attributesToRetrieve"
                | "retrieveVectors"
                | "showRankingScore"
                | "showRankingScoreDetails"
                | "showPerformanceDetails"
                | "rankingScoreThreshold" => {
                    shared.push(json::at_most(raw, member.span.start, member.span.end).to_vec());
                }
                _ => return Err(Unreadable),
            }
        }
        // The filter is looked at first.
        let id = id.ok_or(Unreadable)?.unwrap_or_else(|refusal| {
            fault.get_or_insert(refusal);
            String::new()
        });
        let request = Self {
            id,
            embedder: embedder.ok_or(Unreadable)?,
            paging: Paging::Offset { offset, limit },
            filter,
            fault,
            shared,
        };
        // The members shared with searches have a search's types.
        request.search(b"[0]", "id")?;
        Ok(request)
    }

    /// From the decoded parameters of a GET.
    ///
    /// # Errors
    /// As [`SimilarRequest::from_body`].
    pub fn from_query(pairs: &[(String, String)]) -> Result<Self, Unreadable> {
        let mut body = vec![b'{'];
        for (name, value) in pairs {
            if body.len() > 1 {
                body.push(b',');
            }
            match name.as_str() {
                "id" | "embedder" => {
                    json::quote_into(name, &mut body);
                    body.push(b':');
                    json::quote_into(value, &mut body);
                }
                // JSON when it can be read as JSON, null included, which a search by GET refuses.
                "filter" => {
                    body.extend_from_slice(b"\"filter\":");
                    match serde_json::from_str::<serde::de::IgnoredAny>(value) {
                        Ok(_) => body.extend_from_slice(value.as_bytes()),
                        Err(_) => json::quote_into(value, &mut body),
                    }
                }
                // Parameters of a search that stand for no member of their own.
                "hybridEmbedder" | "hybridSemanticRatio" => return Err(Unreadable),
                _ => parameter_into(name, value, &mut body)?,
            }
        }
        body.push(b'}');
        Self::from_body(&body)
    }

    /// The search for what is near `vector`, a raw array of numbers, from which the target is left out.
    ///
    /// # Errors
    /// [`Unreadable`] when a member has a type that a search refuses.
    pub fn search(&self, vector: &[u8], primary_key: &str) -> Result<SearchRequest, Unreadable> {
        let (offset, limit) = match self.paging {
            Paging::Offset { offset, limit } => (offset, limit),
            Paging::Page { .. } => (0, DEFAULT_LIMIT),
        };
        let mut body = format!("{{\"offset\":{offset},\"limit\":{limit},\"vector\":").into_bytes();
        body.extend_from_slice(vector);
        body.extend_from_slice(b",\"hybrid\":{\"semanticRatio\":1.0,\"embedder\":");
        json::quote_into(&self.embedder, &mut body);
        body.push(b'}');
        if let Some(filter) = &self.filter {
            body.extend_from_slice(b",\"filter\":");
            body.extend_from_slice(filter);
        }
        for member in &self.shared {
            body.push(b',');
            body.extend_from_slice(member);
        }
        body.push(b'}');
        let mut search = SearchRequest::from_body(&body)?;
        search.leave_out(primary_key, &self.id);
        Ok(search)
    }
}

/// An id as text.
fn id_of(raw: &[u8]) -> Result<String, ErrorBody> {
    document_id_of(raw).map(Cow::into_owned).map_err(|error| {
        let message = format!("Invalid value at `.id`: {error}");
        ErrorBody::new(Code::InvalidSimilarId, message)
    })
}

/// The first vector that a stored document, read with its vectors, has for an embedder: a raw array of numbers.
pub fn vector_of<'a>(document: &'a [u8], embedder: &str) -> Option<&'a [u8]> {
    let vectors = json::get(document, "_vectors").ok()??;
    let of_embedder = json::get(vectors, embedder).ok()??;
    let embeddings = match of_embedder.first()? {
        b'{' => json::get(of_embedder, "embeddings").ok()??,
        _ => of_embedder,
    };
    let first = json::elements(embeddings).ok()?.next()?.ok()?;
    match first.first()? {
        b'[' => Some(first),
        _ => Some(embeddings),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::read::merge::merge_similar;
    use crate::read::scope::Scope;
    use crate::read::search::IndexView;

    #[test]
    fn bodies_and_queries_mean_the_same() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let read = SimilarRequest::from_query(&pairs(&[
            ("id", "7"),
            ("embedder", "e"),
            ("limit", "3"),
            ("filter", "[\"a = 1\"]"),
            ("showRankingScore", "true"),
            ("attributesToRetrieve", "id,,n"),
        ]))
        .expect("readable");
        let body = json!({"id": 7, "embedder": "e", "limit": 3, "filter": ["a = 1"], "showRankingScore": true,
            "attributesToRetrieve": ["id", "n"]});
        let other = SimilarRequest::from_body(body.to_string().as_bytes()).expect("readable");
        assert_eq!((read.id, read.paging, read.shared), (other.id, other.paging, other.shared));
        for body in [
            r#"{"id":1}"#,
            r#"{"embedder":"e"}"#,
            r#"{"id":1,"embedder":"e","zork":1}"#,
            r#"{"id":1,"embedder":"e","rankingScoreThreshold":2}"#,
            r#"{"id":1,"embedder":"e","limit":null}"#,
        ] {
            assert!(SimilarRequest::from_body(body.as_bytes()).is_err(), "{body}");
        }
        for (body, code) in [
            (r#"{"id":1.5,"embedder":"e"}"#, "invalid_similar_id"),
            (r#"{"id":"a b","embedder":"e"}"#, "invalid_similar_id"),
            (r#"{"id":{},"embedder":"e","filter":5}"#, "invalid_similar_filter"),
        ] {
            let read = SimilarRequest::from_body(body.as_bytes()).expect("readable");
            assert_eq!(read.fault.map(|fault| fault.code), Some(code.to_owned()), "{body}");
        }
        for query in [pairs(&[("id", "1"), ("embedder", "e"), ("limit", "x")]), pairs(&[("zork", "1")])] {
            assert!(SimilarRequest::from_query(&query).is_err());
        }
    }

    #[test]
    fn vectors_are_found_in_either_form() {
        let of = |vectors: Value| {
            let document = json!({"id": 1, "_vectors": {"e": vectors}}).to_string();
            vector_of(document.as_bytes(), "e").map(|raw| String::from_utf8_lossy(raw).into_owned())
        };
        assert_eq!(of(json!({"embeddings": [[1.0, 0.5]], "regenerate": false})).as_deref(), Some("[1.0,0.5]"));
        assert_eq!(of(json!([1.0, 0.5])).as_deref(), Some("[1.0,0.5]"));
        assert_eq!(of(json!({"embeddings": []})), None);
        assert_eq!(of(json!(null)), None);
    }

    #[test]
    fn the_target_is_left_out_whatever_its_case() {
        let request = SimilarRequest::from_body(br#"{"id":"a","embedder":"e","limit":2,"attributesToRetrieve":["n"]}"#)
            .expect("readable");
        let search = request.search(b"[1.0]", "id").expect("a search");
        let orders = BTreeMap::new();
        let index = IndexView {
            uid: "books",
            displayed: None,
            distinct: Some("brand"),
            sort_facet_values_by: &orders,
            max_values_per_facet: 100,
            max_total_hits: 1000,
            ranks_by_attribute: false,
            pins: None,
        };
        let sent: Value = serde_json::from_slice(&search.node_body(&index, &Scope::default())).expect("JSON");
        assert_eq!((&sent["limit"], &sent["attributesToRetrieve"]), (&json!(3), &json!(["n", "id"])));
        let hit = |id: &str, similarity: f64| {
            json!({"id": id, "n": similarity, "_rankingScore": similarity, "_rankingScoreDetails":
                {"vectorSort": {"order": 0, "similarity": similarity}, "n:asc": {"order": 1, "value": 2.0}}})
        };
        let answer = |hits: Value| {
            json!({"hits": hits, "query": "", "processingTimeMs": 1, "limit": 3, "offset": 0, "estimatedTotalHits": 4,
                "semanticHitCount": 1})
            .to_string()
        };
        let answers = [answer(json!([hit("a", 1.0), hit("b", 0.5)])), answer(json!([hit("A", 0.9)]))];
        let body = merge_similar(&search, &index, &answers, 3, "a").expect("merged");
        let found: Value = serde_json::from_slice(&body).expect("JSON");
        let wanted = json!({"hits": [{"n": 0.9}, {"n": 0.5}], "id": "a", "processingTimeMs": 3, "limit": 2, "offset": 0,
            "estimatedTotalHits": 7});
        assert_eq!(found, wanted);
        // They are ranked by similarity alone, and nothing else is shown.
        let request = SimilarRequest::from_body(br#"{"id":"a","embedder":"e","showRankingScoreDetails":true}"#)
            .expect("readable");
        let search = request.search(b"[1.0]", "id").expect("a search");
        let body = merge_similar(&search, &index, &answers, 3, "a").expect("merged");
        let found: Value = serde_json::from_slice(&body).expect("JSON");
        let details = json!({"vectorSort": {"order": 0, "similarity": 0.5}});
        assert_eq!(found["hits"][1]["_rankingScoreDetails"], details);
    }
}
