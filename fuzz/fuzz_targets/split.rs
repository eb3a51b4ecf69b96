//! The batch splitter: whatever the payload, no panic; and what it accepts is what `serde_json` accepts, each document in
//! exactly the one body where its id belongs.

#![no_main]

use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use miroir_core::document::{
    DocumentError, Format, Method, ReservedFields, Split, SplitError, SplitRequest, infer_primary_key, route_ids, split,
};
use miroir_core::document::{Checks, Embedder};
use miroir_core::base::{hash, inert};

#[path = "../../crates/miroir-core/src/document/tests/invariants.rs"]
mod invariants;

fuzz_target!(|data: &[u8]| {
    // The first byte chooses how the rest is read.
    let Some((&choice, payload)) = data.split_first() else {
        return;
    };
    let format = match choice % 3 {
        0 => Format::Json,
        1 => Format::Ndjson,
        _ => Format::Csv { delimiter: if choice & 16 == 0 { b',' } else { choice & 0x7f } },
    };
    let none = Checks::default();
    let embedders = vec![Embedder { name: "e".into(), dimensions: Some(2), is_user_provided: true }];
    let all = Checks { geo: true, geojson: true, embedders };
    let request = SplitRequest {
        shards: NonZeroU32::new(u32::from(choice >> 3) + 1).unwrap_or(NonZeroU32::MIN),
        primary_key: "id",
        stamp: (choice & 4 != 0).then_some(1_700_000_000_000),
        checks: &none,
        skips_creation: false,
        reserved: ReservedFields { updated_at: true },
        method: Method::Replace,
    };
    invariants::check(payload, format, &request);
    let _ = split(payload, format, &SplitRequest { primary_key: "a.b.c", checks: &all, ..request });
    let _ = infer_primary_key(payload, format);
    let _ = route_ids(payload);
});
