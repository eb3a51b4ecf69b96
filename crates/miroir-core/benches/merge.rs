//! What the merge of nodes' answers costs: CPU time that every search pays.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use miroir_core::read::merge::merge;
use miroir_core::read::scope::Scope;
use miroir_core::read::search::{IndexView, SearchRequest};

/// A node's answer of `count` hits with ranking details, each of about `document` bytes besides those.
fn answer(node: usize, count: usize, document: usize) -> Vec<u8> {
    let text = "lorem ipsum ".repeat(document / 12);
    let hits: Vec<String> = (0..count)
        .map(|rank| {
            let score = 1.0 - (rank * 3 + node) as f64 / 10_000.0;
            format!(
                concat!(
                    "{{\"id\":\"{}-{}\",\"summary\":\"{}\",\"size\":{},\"_miroir_shard\":\"\u{2055}\u{2056}\",",
                    "\"_rankingScore\":{},\"_rankingScoreDetails\":{{",
                    "\"words\":{{\"order\":0,\"matchingWords\":2,\"maxMatchingWords\":2,\"score\":1.0}},",
                    "\"typo\":{{\"order\":1,\"typoCount\":0,\"maxTypoCount\":2,\"score\":1.0}},",
                    "\"proximity\":{{\"order\":2,\"score\":{}}},",
                    "\"attributeRank\":{{\"order\":3,\"score\":0.9523809523809523}},",
                    "\"wordPosition\":{{\"order\":4,\"score\":0.8571428571428571}},",
                    "\"exactness\":{{\"order\":5,\"matchType\":\"noExactMatch\",\"matchingWords\":1,\"maxMatchingWords\":2,\"score\":0.5}}}}}}"
                ),
                node, rank, text, rank * 7, score, score
            )
        })
        .collect();
    format!(
        "{{\"hits\":[{}],\"query\":\"lorem\",\"processingTimeMs\":1,\"limit\":{count},\"offset\":0,\"estimatedTotalHits\":{},\"requestUid\":\"u\"}}",
        hits.join(","),
        count * 10
    )
    .into_bytes()
}

fn merging(criterion: &mut Criterion) {
    let order = BTreeMap::new();
    let index = IndexView {
        uid: "bench",
        displayed: None,
        distinct: None,
        sort_facet_values_by: &order,
        max_values_per_facet: 100,
        max_total_hits: 1000,
        ranks_by_attribute: false,
        pins: None,
    };
    let mut group = criterion.benchmark_group("merge");
    for (name, limit, document) in
        [("3x20 of 500 B", 20, 60), ("3x20 of 2 KB", 20, 1560), ("3x1000 of 500 B", 1000, 60)]
    {
        let answers: Vec<Vec<u8>> = (0..3).map(|node| answer(node, limit, document)).collect();
        let request = SearchRequest::from_body(format!("{{\"q\":\"lorem\",\"limit\":{limit}}}").as_bytes());
        let Ok(request) = request else { continue };
        group.throughput(Throughput::Bytes(answers.iter().map(|body| body.len() as u64).sum()));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| merge(black_box(&request), &index, black_box(&answers), 1, Some("u")));
        });
    }
    group.finish();
}

fn requesting(criterion: &mut Criterion) {
    let order = BTreeMap::new();
    let index = IndexView {
        uid: "bench",
        displayed: None,
        distinct: None,
        sort_facet_values_by: &order,
        max_values_per_facet: 100,
        max_total_hits: 1000,
        ranks_by_attribute: false,
        pins: None,
    };
    let body = br#"{"q":"lorem ipsum","filter":["size > 5",["a = 1","b = 2"]],"limit":20,"attributesToRetrieve":["id","summary"]}"#;
    criterion.bench_function("read a request and write it for 3 nodes", |bencher| {
        bencher.iter(|| {
            SearchRequest::from_body(black_box(body)).map(|request| {
                [(); 3].map(|()| request.node_body(&index, &Scope::of_shards(Some("_miroir_shard IN [\"a\",\"b\"]"))))
            })
        });
    });
}

criterion_group!(benches, merging, requesting);
criterion_main!(benches);
