//! Writes that would have created an index and whose requests no node answers: the same write works later.

use http::StatusCode;

use super::*;

/// The requests that bring an index into being, by method and how their paths end.
const STEPS: [(&str, &str); 3] = [("POST", "/indexes"), ("PATCH", "/settings"), ("POST", "/documents")];

/// The ways in which an index comes into being.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Documents,
    Creation,
    Settings,
}

/// What befalls a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Swallowed,
    Refused(u16),
    HungUp,
}

impl World {
    async fn first_write(&self, way: Way) -> Result<Answer, Error> {
        let writes = &self.cluster.writes;
        match way {
            Way::Documents => self.send("films", json!([{ "id": "one" }, { "id": "two" }])).await,
            Way::Creation => {
                let create = |writer: crate::Writer| async move { writer.create_index(&uid("films"), None).await };
                writes.undertake((), create).await
            }
            Way::Settings => self.configure("films", json!({ "sortableAttributes": ["title"] })).await,
        }
    }
}

async fn leaves_nothing_behind(way: Way, step: usize, fault: Fault) {
    let mut world = World::new(3, 1, "").await;
    let _led = world.led();
    let case = format!("{way:?}, {:?}, {fault:?}", STEPS[step]);
    for node in &world.nodes {
        let matches = move |method: &str, path: &str| {
            let path = path.split('?').next().unwrap_or_default();
            method == STEPS[step].0 && path.ends_with(STEPS[step].1)
        };
        match fault {
            Fault::Swallowed => node.swallows(matches),
            Fault::Refused(status) => node.refuses(StatusCode::from_u16(status).expect("a status"), matches),
            Fault::HungUp => node.hangs_up(matches),
        }
    }
    let refused = world.first_write(way).await;
    world.nodes.iter().for_each(FakeNode::recovers);
    // A change of settings begins with settings.
    if way == Way::Settings && step == 0 {
        world.ended(&refused.expect("accepted")).await;
    } else {
        assert!(refused.is_err(), "{case}");
        assert!(world.cluster.state.index(&uid("films")).is_err(), "{case}: half of it is there");
        let accepted = world.first_write(way).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded, "{case}");
    }
    let accepted =
        world.send("films", json!([{ "id": "seven" }])).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded, "{case}");
    let found: Value = serde_json::from_slice(&world.search("films").await.expect("whole").body).expect("JSON");
    let expected = if way == Way::Documents { 3 } else { 1 };
    assert_eq!(found["estimatedTotalHits"], expected, "{case}: {found}");
}

#[tokio::test(start_paused = true)]
async fn a_first_write_that_is_lost_at_any_step_leaves_nothing_behind() {
    for way in [Way::Documents, Way::Creation, Way::Settings] {
        // A creation has no documents, and settings are one request.
        for step in 0..if way == Way::Documents { 3 } else { 2 } {
            for fault in [Fault::Swallowed, Fault::HungUp, Fault::Refused(500), Fault::Refused(503)] {
                leaves_nothing_behind(way, step, fault).await;
            }
        }
    }
}
