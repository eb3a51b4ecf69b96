mod batches;
mod corruption;
mod invariants;
mod messages;
mod vectors;

use std::num::NonZeroU32;

use super::{
    DocumentError, Format, Method, PayloadError, ReservedFields, Split, SplitError, SplitRequest, infer_primary_key,
    split,
};
use crate::base::{hash, inert};
use crate::document::{Checks, Embedder};

const CSV: Format = Format::Csv { delimiter: b',' };

fn no_checks() -> &'static Checks {
    static NONE: Checks = Checks { geo: false, geojson: false, embedders: Vec::new() };
    &NONE
}

fn all_checks() -> Checks {
    let embedders = vec![Embedder { name: "e".into(), dimensions: Some(2), is_user_provided: true }];
    Checks { geo: true, geojson: true, embedders }
}

fn request(primary_key: &str) -> SplitRequest<'_> {
    SplitRequest {
        shards: NonZeroU32::new(7).unwrap(),
        primary_key,
        stamp: None,
        checks: no_checks(),
        skips_creation: false,
        reserved: ReservedFields::default(),
        method: Method::Replace,
    }
}
