//! Documents by id, by filter, or page by page.

use milli_core::constants::RESERVED_VECTORS_FIELD_NAME;
use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::{FieldsIdsMap, Index};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::{filter, hits, sorted};
use crate::engine::Engine;
use crate::error::{ApiError, ApiResult};
use crate::select;

/// Longest document id.
const MAX_ID_BYTES: usize = 511;

/// Which documents, and what of them.
#[derive(Debug, Clone)]
pub struct DocumentsQuery {
    /// Only these ids; unknown ones are no error.
    pub ids: Option<Vec<String>>,
    /// Only what this finds.
    pub filter: Option<Value>,
    /// Attributes to return; all when absent.
    pub fields: Option<Vec<String>>,
    /// Documents to skip.
    pub offset: usize,
    /// Documents to return.
    pub limit: usize,
    /// Whether `_vectors` are returned.
    pub retrieve_vectors: bool,
    /// The order asked for; the engine's own when absent.
    pub sort: Option<Vec<String>>,
}

/// A page of documents in the engine's own order.
///
/// # Errors
/// `index_not_found`, `invalid_document_filter`, or when the index cannot be read.
pub fn page(engine: &Engine, uid: &str, query: &DocumentsQuery) -> ApiResult<Value> {
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let mut found = match &query.ids {
        None => index.documents_ids(&rtxn)?,
        Some(ids) => {
            let mut found = RoaringBitmap::new();
            for id in ids {
                found.extend(internal_id(&index, &rtxn, id)?);
            }
            found
        }
    };
    if let Some(filter) = &query.filter
        && let Some(filter) = filter::parse(filter, "invalid_document_filter")?
    {
        found &= filter.evaluate(&rtxn, &index).map_err(|error| {
            let error = ApiError::from(error);
            if error.code == "invalid_search_filter" { error.with_code("invalid_document_filter") } else { error }
        })?;
    }
    let total = found.len();
    let reader = Reader::new(&index, &rtxn, query.retrieve_vectors)?;
    let order: Vec<u32> = match query.sort.as_deref() {
        None | Some([]) => found.into_iter().collect(),
        Some(sort) => {
            let sortable: Vec<String> = index.sortable_fields(&rtxn)?.into_iter().collect();
            let rules = sorted::parse(sort, &sortable)?;
            let fields = index.fields_ids_map(&rtxn)?;
            let documents: Vec<_> = found
                .into_iter()
                .map(|id| Ok((hits::stored_document(&index, &rtxn, &fields, id)?, id)))
                .collect::<ApiResult<_>>()?;
            sorted::sort(documents, &rules)
        }
    };
    let results: Vec<Value> = order
        .into_iter()
        .skip(query.offset)
        .take(query.limit)
        .map(|id| reader.read(id, query.fields.as_deref()))
        .collect::<ApiResult<_>>()?;
    Ok(json!({"results": results, "offset": query.offset, "limit": query.limit, "total": total}))
}

/// One document.
///
/// # Errors
/// `index_not_found`, `document_not_found`, or when the index cannot be read.
pub fn one(
    engine: &Engine,
    uid: &str,
    id: &str,
    fields: Option<&[String]>,
    retrieve_vectors: bool,
) -> ApiResult<Value> {
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    match internal_id(&index, &rtxn, id)? {
        Some(internal) => Reader::new(&index, &rtxn, retrieve_vectors)?.read(internal, fields),
        None => Err(ApiError::new("document_not_found", format!("Document `{id}` not found."))),
    }
}

/// The engine's number of the document `id`.
fn internal_id(index: &Index, rtxn: &RoTxn<'_>, id: &str) -> ApiResult<Option<u32>> {
    // No document has such an id, and the store refuses to look for it.
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Ok(None);
    }
    Ok(index.external_documents_ids().get(rtxn, id)?)
}

/// Reads documents as they were sent. `displayedAttributes` do not matter here.
struct Reader<'a> {
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    fields: FieldsIdsMap,
    vectors: bool,
    embedders: Vec<IndexEmbeddingConfig>,
}

impl<'a> Reader<'a> {
    fn new(index: &'a Index, rtxn: &'a RoTxn<'a>, vectors: bool) -> ApiResult<Self> {
        let fields = index.fields_ids_map(rtxn)?;
        let embedders = if vectors { index.embedding_configs(rtxn)? } else { Vec::new() };
        Ok(Self { index, rtxn, fields, vectors, embedders })
    }

    fn read(&self, id: u32, fields: Option<&[String]>) -> ApiResult<Value> {
        let mut document = hits::stored_document(self.index, self.rtxn, &self.fields, id)?;
        let given = document.remove(RESERVED_VECTORS_FIELD_NAME);
        if let Some(fields) = fields {
            let names: Vec<&str> = fields.iter().map(String::as_str).collect();
            document = select::keep(&document, &names);
        }
        if self.vectors {
            let vectors = hits::vectors(self.index, self.rtxn, &self.embedders, id, given)?;
            document.insert(RESERVED_VECTORS_FIELD_NAME.to_owned(), vectors);
        }
        Ok(Value::Object(document))
    }
}
