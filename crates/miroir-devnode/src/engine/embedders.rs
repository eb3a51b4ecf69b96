//! Embedders, built once per configuration and shared by indexing and search.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::vector::{Embedder, EmbedderOptions, EmbeddingConfigs};
use milli_core::{Error as EngineError, Index, Result as EngineResult};

/// Query embeddings remembered per embedder.
const CACHED_QUERIES: usize = 1000;

/// Embedders by configuration.
#[derive(Default)]
pub struct Embedders(Mutex<HashMap<EmbedderOptions, Arc<Embedder>>>);

impl Embedders {
    /// The embedders of `index`, by name.
    ///
    /// # Errors
    /// When the index cannot be read or an embedder cannot be built.
    pub fn of(&self, index: &Index, rtxn: &RoTxn<'_>) -> EngineResult<EmbeddingConfigs> {
        let mut built = HashMap::new();
        for IndexEmbeddingConfig { name, config, .. } in index.embedding_configs(rtxn)? {
            let prompt = Arc::new(config.prompt.try_into().map_err(EngineError::from)?);
            let embedder = self.build(config.embedder_options)?;
            built.insert(name, (embedder, prompt, config.quantized.unwrap_or_default()));
        }
        Ok(EmbeddingConfigs::new(built))
    }

    fn build(&self, options: EmbedderOptions) -> EngineResult<Arc<Embedder>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&options).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let embedder = Embedder::new(options.clone(), CACHED_QUERIES)
            .map_err(milli_core::vector::Error::from)
            .map_err(EngineError::from)?;
        let embedder = Arc::new(embedder);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(options, embedder.clone());
        Ok(embedder)
    }
}
