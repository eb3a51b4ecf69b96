//! How fast a batch is checked, split and stamped, in bytes of payload per second on one core.

use std::fmt::Write;
use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use miroir_core::base::hash::shard_of;
use miroir_core::document::Checks;
use miroir_core::document::{Format, Method, ReservedFields, SplitRequest, split};

const BATCH: usize = 10_000_000;

const WORDS: [&str; 12] = [
    "library",
    "of",
    "shared",
    "objects",
    "for",
    "développement",
    "with a \\\"quoted\\\" name",
    "and",
    "the",
    "files\\n",
    "headers",
    "2.0-1+b3",
];

/// A record as package indexes and shops have them: short fields, a few numbers, a list, and a text of `length` bytes.
fn document(id: usize, length: usize, out: &mut String) {
    let _ = write!(
        out,
        r#"{{"id":{id},"name":"package-{id}","version":"{}.{}.{}-1","section":"libs","installed_size":{},"priority":"optional","tags":["role::shared-lib","implemented-in::c","devel::lang:{}"],"maintained":true,"homepage":"https://example.org/projects/{id}/","description":""#,
        id % 7,
        id % 11,
        id % 13,
        id * 37 % 100_000,
        id % 5,
    );
    let start = out.len();
    for word in 0.. {
        if out.len() - start >= length {
            break;
        }
        out.push_str(WORDS[(id * 31 + word * 7) % WORDS.len()]);
        out.push(' ');
    }
    out.push_str("\"}");
}

fn batch(length: usize, array: bool) -> String {
    let mut out = String::with_capacity(BATCH + 10_000);
    out.push_str(if array { "[" } else { "" });
    for id in 0.. {
        if out.len() >= BATCH {
            break;
        }
        if id > 0 {
            out.push_str(if array { "," } else { "\n" });
        }
        document(id, length, &mut out);
    }
    out.push_str(if array { "]" } else { "\n" });
    out
}

fn csv() -> String {
    let mut out = String::from("id,name,price:number,description\n");
    for id in 0..40_000 {
        let _ = writeln!(out, "{id},package-{id},{}.5,\"{}\"", id % 1000, "some words, and more ".repeat(10));
    }
    out
}

static NO_CHECKS: Checks = Checks { geo: false, geojson: false, embedders: Vec::new() };

fn request(primary_key: &str) -> SplitRequest<'_> {
    SplitRequest {
        shards: NonZeroU32::new(16).unwrap_or(NonZeroU32::MIN),
        primary_key,
        stamp: None,
        checks: &NO_CHECKS,
        skips_creation: false,
        reserved: ReservedFields { updated_at: true },
        method: Method::Replace,
    }
}

fn splitting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    group.sample_size(20);
    let stamped = SplitRequest { stamp: Some(1_700_000_000_000), ..request("id") };
    let pretty = {
        let documents: Vec<serde_json::Value> = serde_json::from_str(&batch(200, true)).unwrap_or_default();
        serde_json::to_string_pretty(&documents).unwrap_or_default()
    };
    for (name, payload, format, request) in [
        ("ndjson_500_bytes", batch(200, false), Format::Ndjson, request("id")),
        ("ndjson_500_bytes_stamped", batch(200, false), Format::Ndjson, stamped),
        ("json_500_bytes", batch(200, true), Format::Json, request("id")),
        ("json_500_bytes_pretty", pretty, Format::Json, request("id")),
        ("ndjson_2000_bytes", batch(1700, false), Format::Ndjson, request("id")),
        ("ndjson_20000_bytes", batch(19_700, false), Format::Ndjson, request("id")),
        ("csv", csv(), Format::Csv { delimiter: b',' }, request("id")),
    ] {
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| split(black_box(payload.as_bytes()), format, &request).map(|split| split.unique));
        });
    }
    group.finish();
}

fn hashing(criterion: &mut Criterion) {
    let ids: Vec<String> = (0..10_000).map(|id| format!("package-{id}")).collect();
    let shards = NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN);
    criterion.bench_function("hash_10000_ids", |bencher| {
        bencher.iter(|| ids.iter().map(|id| shard_of(black_box(id.as_bytes()), shards).0).fold(0, u32::wrapping_add));
    });
}

criterion_group!(benches, splitting, hashing);
criterion_main!(benches);
