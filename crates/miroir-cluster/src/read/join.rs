//! Joins: filters on documents of another index, and documents of another index in place of their ids.
//!
//! Invariant: of another index nodes are asked as a whole and by Miroir alone; none of them ever joins its own part. What
//! nobody can tell stays as it is, and the answer says that a shard is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::IndexUid;
use miroir_core::base::inert::shard_filter;
use miroir_core::base::json;
use miroir_core::base::strip;
use miroir_core::config::UnavailableShardPolicy;
use miroir_core::document::id_text;
use miroir_core::read::filter::{Malformed, joins, seen, with_ids};
use miroir_core::read::join::{ForeignKey, Stands, foreign_keys, hits, hydrate, ids_in, with_hits};
use miroir_core::read::sorted::selected;
use miroir_core::settings::features::Feature;
use miroir_node::Call;
use serde_json::json;

use crate::read::scatter::Gathered;
use crate::read::stored::{documents_of, ids_of};
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Degraded, Error, Index, Reads};

/// Documents of another index that one filter may find, as with one server.
const FOUND: usize = 100;
/// Documents that are put into one answer.
const JOINED: usize = 10_000;
/// Bytes of them.
const JOINED_BYTES: usize = 64 * 1024 * 1024;
/// Documents asked for in one request.
const AT_A_TIME: usize = 500;

/// Raw documents by index and id.
#[derive(Default)]
struct Documents {
    found: BTreeMap<(String, String), Bytes>,
    /// Ids of which nobody could say anything.
    unknown: BTreeSet<(String, String)>,
    bytes: usize,
    degraded: Degraded,
}

/// The hits of an answer, by what decides which keys they have.
pub(crate) enum Joining<'a> {
    /// All are of this index.
    Of(&'a Index),
    /// Each says of which it is.
    Federated(Vec<&'a Index>),
}

impl Reads {
    /// The filter with what is found in place of its conditions on other indexes; none: it has no such condition. `code` is
    /// that of a filter which this route cannot read.
    ///
    /// # Errors
    /// As one server refuses, or when shards of the other index are unavailable.
    pub(crate) async fn joined_filter(
        &self,
        index: &Index,
        filter: &[u8],
        code: Code,
    ) -> Result<Option<Vec<u8>>, Error> {
        // Where the feature is off, a node refuses it in its own words.
        if !seen(filter).joins || !self.state.has_feature(Feature::ForeignKeys).await {
            return Ok(None);
        }
        self.check_filter(Some(filter), code)?;
        let refused = |message: String| Error::Invalid(ErrorBody::new(Code::InvalidSearchFilter, message));
        let malformed = |error: Malformed| Error::Invalid(ErrorBody::new(code, error.to_string()));
        let joins = joins(filter).map_err(malformed)?;
        let keys = foreign_keys(&index.settings);
        let mut of_index: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut found = Vec::with_capacity(joins.len());
        for join in &joins {
            if join.is_nested {
                return Err(refused(format!("Index `{}`: Nested foreign filters are not supported", index.uid)));
            }
            let key = keys.iter().find(|key| key.field == join.field);
            let key = key.ok_or_else(|| {
                refused(format!("Index `{}`: Field `{}` is not a foreign key", index.uid, join.field))
            })?;
            let ids = self.foreign_ids(&key.index, &join.filter).await?;
            let all = of_index.entry(&key.index).or_default();
            all.extend(ids.iter().cloned());
            if all.len() > FOUND {
                return Err(refused(format!(
                    "Index `{}`: Foreign filter is retrieving too many documents, foreign filters can't retrieve more than {FOUND} documents per index",
                    key.index
                )));
            }
            found.push(ids);
        }
        with_ids(filter, &found).map(Some).map_err(malformed)
    }

    /// Likewise for what confines a client.
    pub(crate) async fn joined_rule(&self, index: &Index, rule: Option<&[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let Some(rule) = rule else { return Ok(None) };
        Ok(Some(self.joined_filter(index, rule, Code::InvalidSearchFilter).await?.unwrap_or_else(|| rule.to_vec())))
    }

    /// The ids of the documents of an index that match an expression: at most one more than may be found.
    async fn foreign_ids(&self, uid: &str, filter: &str) -> Result<Vec<String>, Error> {
        let index = Reading::of(self.foreign_index(uid).await?);
        let Some(primary_key) = index.key().cloned() else { return Ok(Vec::new()) };
        let (path, timeout) = (format!("/indexes/{}/documents/fetch", index.physical), self.state.read_timeout());
        let gathered = self
            .gather(&index, &all_shards(&index), 0, |assignment, _| {
                let body = json!({
                    "limit": FOUND + 1,
                    "fields": [primary_key],
                    "filter": [shard_filter(&assignment.shards), filter],
                });
                Call::json("documents", Method::POST, path.clone(), body.to_string().into_bytes(), timeout)
            })
            .await
            .map_err(|error| as_a_filter_of(uid, error))?;
        ids_of(&gathered, &primary_key)
    }

    async fn foreign_index(&self, uid: &str) -> Result<Arc<Index>, Error> {
        let known: IndexUid = uid.parse().map_err(|_| Error::IndexNotFound(uid.to_owned()))?;
        self.state.find_index(&known).await
    }

    /// An answer with the documents that its hits name in place of their ids, and what is missing from them.
    ///
    /// # Errors
    /// As one server refuses; when there would be too many documents; [`Error::Answer`].
    pub(crate) async fn hydrated(&self, of: Joining<'_>, answer: Vec<u8>) -> Result<(Vec<u8>, Degraded), Error> {
        if !self.state.features().has(Feature::ForeignKeys) {
            return Ok((answer, Degraded::default()));
        }
        let keys: BTreeMap<&str, Vec<ForeignKey>> = match &of {
            Joining::Of(index) => [(index.uid.as_str(), foreign_keys(&index.settings))].into(),
            Joining::Federated(indexes) => {
                indexes.iter().map(|index| (index.uid.as_str(), foreign_keys(&index.settings))).collect()
            }
        };
        if keys.values().all(Vec::is_empty) {
            return Ok((answer, Degraded::default()));
        }
        let unreadable = |error: json::SyntaxError| Error::Internal(format!("a merged answer: {error}"));
        let uid_of = |hit: &[u8]| -> Option<String> {
            match &of {
                Joining::Of(index) => Some(index.uid.to_string()),
                Joining::Federated(_) => {
                    let federation = json::get(hit, "_federation").ok()??;
                    json::unquote(json::get(federation, "indexUid").ok()??).map(|uid| uid.into_owned())
                }
            }
        };
        let keys_of = |hit: &[u8]| uid_of(hit).and_then(|uid| keys.get(uid.as_str())).map_or(&[][..], Vec::as_slice);
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for hit in hits(&answer).map_err(unreadable)? {
            let keys = keys_of(hit);
            for (key, id) in ids_in(hit, keys).map_err(unreadable)? {
                if let Some(key) = keys.get(key) {
                    wanted.entry(key.index.clone()).or_default().insert(id);
                }
            }
        }
        let documents = self.foreign_documents(&wanted).await?;
        let hydrated = with_hits(&answer, |_, hit, out| {
            let keys = keys_of(hit);
            let stands = |key: usize, id: &str| {
                let Some(key) = keys.get(key) else { return Stands::Unknown };
                let name = (key.index.clone(), id.to_owned());
                match documents.found.get(&name) {
                    Some(document) => Stands::For(document),
                    None if documents.unknown.contains(&name) || !is_wanted(&wanted, &name) => Stands::Unknown,
                    None => Stands::ForNothing,
                }
            };
            hydrate(hit, keys, &stands, out)
        });
        Ok((hydrated.map_err(unreadable)?, documents.degraded))
    }

    /// The documents of these ids, by index, as their index shows them.
    async fn foreign_documents(&self, wanted: &BTreeMap<String, BTreeSet<String>>) -> Result<Documents, Error> {
        let mut documents = Documents::default();
        if wanted.values().map(BTreeSet::len).sum::<usize>() > JOINED {
            return Err(too_many(&format!("{JOINED} documents")));
        }
        for (uid, ids) in wanted {
            let index = Reading::of(self.foreign_index(uid).await?);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            for some in ids.chunks(AT_A_TIME) {
                self.add_documents(&index, some, &mut documents).await?;
            }
        }
        Ok(documents)
    }

    async fn add_documents(&self, index: &Reading, ids: &[&str], documents: &mut Documents) -> Result<(), Error> {
        let Some(primary_key) = index.key().map(String::as_str) else { return Ok(()) };
        let partial = self.state.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Partial;
        let gathered = match self.gather_by_id(index, ids, None).await {
            Ok(gathered) => gathered,
            Err(Error::ShardUnavailable { shards }) if partial => {
                Gathered { parts: Vec::new(), degraded: Degraded { shards, ..Degraded::default() } }
            }
            Err(error) => return Err(error),
        };
        let displayed = index.settings.displayed();
        for part in &gathered.parts {
            let node = part.assignment.node.as_str();
            let malformed = |error: String| Error::Answer { node: node.into(), why: error };
            for raw in documents_of(node, &part.reply.body)? {
                let id = id_text(raw, primary_key).map_err(|error| malformed(error.to_string()))?;
                let mut shown = Vec::with_capacity(raw.len());
                strip::document(raw, &mut shown).map_err(|error| malformed(error.to_string()))?;
                if let Some(displayed) = &displayed {
                    let whole = std::mem::take(&mut shown);
                    selected(&whole, displayed, false, &mut shown).map_err(|error| malformed(error.to_string()))?;
                }
                documents.bytes += shown.len();
                if documents.bytes > JOINED_BYTES {
                    return Err(too_many(&format!("{JOINED_BYTES} bytes of documents")));
                }
                if let Some(id) = id {
                    documents.found.insert((index.uid.to_string(), id), shown.into());
                }
            }
        }
        let is_unknown = |id: &&&str| gathered.degraded.shards.contains(&shard_of(id.as_bytes(), index.shards));
        for id in ids.iter().filter(is_unknown) {
            documents.unknown.insert((index.uid.to_string(), (*id).to_owned()));
        }
        documents.degraded = std::mem::take(&mut documents.degraded).and(gathered.degraded);
        Ok(())
    }
}

fn is_wanted(wanted: &BTreeMap<String, BTreeSet<String>>, name: &(String, String)) -> bool {
    wanted.get(&name.0).is_some_and(|ids| ids.contains(&name.1))
}

fn too_many(what: &str) -> Error {
    let message = format!("The hits name more than {what} of other indexes, which is too much for one answer.");
    Error::Invalid(ErrorBody::new(Code::MiroirUnsupported, message))
}

/// A refusal of the filter on another index, as it is refused where it is part of a search.
fn as_a_filter_of(uid: &str, error: Error) -> Error {
    let Error::Refused { body, .. } = error else { return error };
    let message = format!("Index `{uid}`: {}", body.message);
    Error::Invalid(ErrorBody::new(Code::InvalidDocumentFilter, message))
}
