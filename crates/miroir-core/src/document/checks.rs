//! What a node checks of documents while it indexes them, which depends on the settings that it has.

/// What documents have to comply with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// `_geo` must be a point.
    pub geo: bool,
    /// `_geojson` must be a geometry.
    pub geojson: bool,
    /// What `_vectors` must fit.
    pub embedders: Vec<Embedder>,
}

/// An embedder, as far as documents are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedder {
    /// Its name.
    pub name: String,
    /// How many numbers a vector of it has; none: only nodes know.
    pub dimensions: Option<usize>,
    /// Clients provide its vectors.
    pub is_user_provided: bool,
}
