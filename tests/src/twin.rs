//! A cluster and a lone node side by side: one scenario runs against both, and the answers agree.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::shape;

/// A cluster under test and the server it must not be told from.
#[derive(Debug)]
pub struct Twin {
    /// Three nodes, two replicas.
    pub cluster: Cluster,
    /// One node.
    pub reference: Node,
}

impl Twin {
    /// A pair of its own.
    pub fn start() -> Self {
        Self { cluster: Cluster::builder().start(), reference: Node::single() }
    }

    /// The pair that tests share which leave everything as it is but for indexes, tasks and keys of their own.
    pub fn shared() -> &'static Self {
        static TWIN: OnceLock<Twin> = OnceLock::new();
        TWIN.get_or_init(Self::start)
    }

    /// A client of the cluster and one of the reference, in this order.
    pub fn clients(&self) -> [Client; 2] {
        [self.cluster.client(), self.reference.client()]
    }

    /// An index with a primary key on both.
    #[track_caller]
    pub fn create(&self, index: &str) {
        for client in self.clients() {
            client.done(&client.post("/indexes", &json!({ "uid": index, "primaryKey": "id" })));
        }
    }

    /// The same settings on both.
    #[track_caller]
    pub fn configure(&self, index: &str, settings: &Value) {
        for client in self.clients() {
            client.configure(index, settings);
        }
    }

    /// The same documents on both.
    #[track_caller]
    pub fn load(&self, index: &str, documents: &Value) {
        for client in self.clients() {
            client.load(index, documents);
        }
    }

    /// Asks both, and panics unless status and shape are the same; the cluster's answer.
    #[track_caller]
    pub fn same(&self, what: &str, ask: impl Fn(&Client) -> Answer) -> Answer {
        let [cluster, reference] = self.clients();
        let (ours, theirs) = (ask(&cluster), ask(&reference));
        assert_eq!(ours.verdict(), theirs.verdict(), "{what}:\n candidate {}\n reference {}", ours.text, theirs.text);
        shape::assert_same(what, &ours.body, &theirs.body);
        ours
    }

    /// Lets both do something that is a task, and panics unless the tasks end in the same shape; the cluster's task.
    #[track_caller]
    pub fn same_task(&self, what: &str, write: impl Fn(&Client) -> Answer) -> Value {
        let [cluster, reference] = self.clients();
        let (ours, theirs) = (write(&cluster), write(&reference));
        assert_eq!(ours.verdict(), theirs.verdict(), "{what}:\n candidate {}\n reference {}", ours.text, theirs.text);
        shape::assert_same(what, &ours.body, &theirs.body);
        let (ours, theirs) = (cluster.ended(&ours), reference.ended(&theirs));
        shape::assert_same(what, &ours, &theirs);
        ours
    }

    /// Panics unless both hold the same documents, each listed once.
    #[track_caller]
    pub fn same_documents(&self, index: &str) -> usize {
        let [ours, theirs] = self.clients().map(|client| shape::by_id(client.documents(index)));
        assert_eq!(ours, theirs, "documents of {index}");
        for client in self.clients() {
            assert_eq!(client.count(index), ours.len() as u64, "count of {index} on {}", client.base());
        }
        ours.len()
    }
}

/// The differences found in a table of cases, all reported at once.
#[derive(Debug, Default)]
pub struct Differences(Vec<String>);

impl Differences {
    /// Notes a case whose two results are not the same.
    pub fn check<T: PartialEq + std::fmt::Debug>(&mut self, case: &str, candidate: &T, reference: &T) {
        if candidate != reference {
            self.0.push(format!("{case}\n   candidate {candidate:?}\n   reference {reference:?}"));
        }
    }

    /// Panics when there are any.
    #[track_caller]
    pub fn none(self) {
        assert!(self.0.is_empty(), "{} cases differ:\n{}", self.0.len(), self.0.join("\n"));
    }
}
