//! An index of many small documents.

use serde_json::{Value, json};

use miroir_tests::{Client, dataset};

/// Its name.
pub const INDEX: &str = "catalogue";
const BATCH: usize = 5000;

/// Make it, with so many documents.
pub fn load(client: &Client, documents: usize) {
    client.create(INDEX, "id");
    client.configure(INDEX, &json!({ "filterableAttributes": ["year"], "searchableAttributes": ["title", "text"] }));
    let sample = dataset::documents(4000, 5);
    let all: Vec<usize> = (0..documents).collect();
    for part in all.chunks(BATCH) {
        let batch: Vec<Value> = part
            .iter()
            .map(|id| {
                let mut document = sample[id % sample.len()].clone();
                document["id"] = (*id).into();
                document
            })
            .collect();
        let body = dataset::ndjson(&batch);
        let headers = [("content-type", "application/x-ndjson")];
        client.done(&client.send("POST", &format!("/indexes/{INDEX}/documents"), Some(body.as_bytes()), &headers));
    }
}
