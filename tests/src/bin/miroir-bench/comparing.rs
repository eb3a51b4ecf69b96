//! How much memory a comparison of replicas needs that finds nothing.

use std::time::{Duration, Instant};

use miroir_api::{AntiEntropyStatus, Pass};
use serde_json::json;

use miroir_tests::{Cluster, eventually, usage};

use crate::catalogue::load;
use crate::options::Options;
use crate::report::Report;

const BOUND: Duration = Duration::from_secs(3600);

/// Bytes that the orchestrator needs at most while a pass finds nothing.
fn memory_of_a_pass(cluster: &Cluster) -> (u64, u64, f64) {
    let before = usage::forget_peak(cluster.proxy_pid());
    let begun = Instant::now();
    let pass: Pass = cluster.admin().post("/_miroir/anti-entropy/run", &json!({ "deep": false })).expect(202).read();
    let status = eventually("replicas are compared", BOUND, || {
        let status: AntiEntropyStatus = cluster.admin().get("/_miroir/anti-entropy/status").expect(200).read();
        (status.finished && status.pass.as_ref() == Some(&pass)).then_some(status)
    });
    assert_eq!(status.instances[0].found.mismatches, 0, "{status:?}");
    (before, usage::peak_memory(cluster.proxy_pid()), begun.elapsed().as_secs_f64())
}

/// Two nodes with everything.
pub fn measure(options: &Options, report: &mut Report) {
    let documents = options.comparing_documents;
    let cluster = Cluster::builder().nodes(2).rf(2).shards(8).start();
    load(&cluster.client(), documents);
    let (before, held, seconds) = memory_of_a_pass(&cluster);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.row(
        format!("peak memory of the orchestrator for a clean comparison of 2 replicas of {documents} documents"),
        format!("{:.2} of the bound", megabytes(held.saturating_sub(before)) / 100.0),
        "under 100 MB",
        format!("{:.0} MB, {:.0} MB before; {seconds:.1} s", megabytes(held), megabytes(before)),
    );
}
