//! Documents without vectors for embedders whose vectors clients provide. A node takes them when it has vectors of an
//! earlier version of the document, and fails the whole task otherwise.

use std::collections::HashMap;

use super::error::DocumentError;
use super::vectors::Vectors;
use crate::document::Embedder;

/// A document that finds no vectors with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Its id.
    pub id: String,
    /// The embedder.
    pub embedder: String,
}

/// What the batch says of each document, by the hash of its id; none: nothing is lacking.
#[derive(Debug, Default)]
pub(super) struct Lack(HashMap<u64, Option<(u64, Lacking)>>);

impl Lack {
    /// A document of the batch, and what was found in its vectors, if it has the field. `replaces`: it takes the place of
    /// earlier ones with all of their fields.
    pub fn record(
        &mut self,
        (hash, order, id): (u64, u64, &str),
        vectors: Option<&Vectors>,
        replaces: bool,
        embedders: &[Embedder],
    ) {
        if vectors.is_none() && !replaces && self.0.contains_key(&hash) {
            return;
        }
        let none = Vectors::default();
        let lacking = vectors
            .unwrap_or(&none)
            .lacking(embedders)
            .map(|embedder| (order, Lacking { id: id.to_owned(), embedder: embedder.name.clone() }));
        self.0.insert(hash, lacking);
    }

    /// Those that have to be stored already, in the order of the batch.
    pub fn finish(self) -> Vec<Lacking> {
        let mut lacking: Vec<(u64, Lacking)> = self.0.into_values().flatten().collect();
        lacking.sort_unstable_by_key(|(order, _)| *order);
        lacking.into_iter().map(|(_, lacking)| lacking).collect()
    }
}

/// The error of documents that are not stored with vectors, and bring none; none: there are no such.
pub fn no_vectors(documents: &[Lacking]) -> Option<DocumentError> {
    let Lacking { id, embedder } = documents.first()?.clone();
    let others = documents.iter().filter(|other| other.embedder == embedder).count() - 1;
    Some(DocumentError::NoVectors { id, embedder, others })
}
