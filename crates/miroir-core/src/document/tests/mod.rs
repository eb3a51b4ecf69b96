mod batches;
mod corruption;
mod invariants;
mod messages;

use std::num::NonZeroU32;

use super::{
    DocumentError, Format, Method, PayloadError, ReservedFields, Split, SplitError, SplitRequest, infer_primary_key,
    split,
};
use crate::{hash, inert};

const CSV: Format = Format::Csv { delimiter: b',' };

fn request(primary_key: &str) -> SplitRequest<'_> {
    SplitRequest {
        shards: NonZeroU32::new(7).unwrap(),
        primary_key,
        stamp: None,
        check_geo: false,
        reserved: ReservedFields::default(),
        method: Method::Replace,
    }
}
