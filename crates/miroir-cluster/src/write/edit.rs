//! Documents are edited by a function: on every node, each replica of a document alike.
//!
//! Invariant: the function neither sees nor changes fields of ours. It is handed to the nodes as a value in the context
//! of a wrapper that takes our fields out, evaluates it, and puts them back; its text is never pasted into another.

use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::base::inert::{SHARD_FIELD, UPDATED_AT_FIELD};
use miroir_core::write::task::{Effects, TaskKind};
use miroir_node::Call;
use serde_json::{Value, json};

use crate::write::delete::broadcast;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::{Error, Writer};

/// What `POST /documents/edit` asks for.
pub struct Edition {
    /// A script of Meilisearch's dialect of Rhai.
    pub function: String,
    /// An object, if any.
    pub context: Option<Value>,
    /// As the client wrote it, if any.
    pub filter: Option<Value>,
    /// The client's own note.
    pub custom_metadata: Option<String>,
}

/// A closure, so that a `return` in the function ends the function and not the wrapper. It names what the function may
/// use: only that is in its sight.
fn wrapper() -> String {
    format!(
        r#"let miroir_kept = #{{}};
for miroir_name in ["{SHARD_FIELD}", "{UPDATED_AT_FIELD}"] {{
    if miroir_name in doc {{
        miroir_kept[miroir_name] = doc[miroir_name];
        doc.remove(miroir_name);
    }}
}}
let miroir_function = context.function;
let context = context.context;
let miroir_run = || {{
    if false {{
        doc = ();
        context = ();
    }}
    eval(miroir_function);
}};
miroir_run.call();
if type_of(doc) == "map" {{
    doc.mixin(miroir_kept);
}}
"#
    )
}

impl Writer {
    /// `POST /indexes/{uid}/documents/edit`.
    ///
    /// # Errors
    /// As `Writer::change`; an unknown index is a task that fails.
    pub async fn edit_documents(&self, uid: &IndexUid, edition: Edition) -> Result<Accepted, Error> {
        let Edition { function, context, filter, custom_metadata } = edition;
        if [SHARD_FIELD, UPDATED_AT_FIELD].into_iter().any(|ours| function.contains(ours)) {
            let message = format!("The function must not name `{SHARD_FIELD}` or `{UPDATED_AT_FIELD}`.");
            return Err(Error::Invalid(ErrorBody::new(Code::MiroirReservedField, message)));
        }
        let raw_filter = filter.as_ref().filter(|filter| !filter.is_null()).map(Value::to_string);
        let fails_with = self.reads.check_filter_of_change(raw_filter.as_ref().map(String::as_bytes))?;
        let guard = match &raw_filter {
            Some(_) => self.lock_index_behind_settings(uid).await?,
            None => self.lock_index(uid).await?,
        };
        let details = |edited: Option<u64>| {
            raw(&json!({
                "editedDocuments": edited,
                "deletedDocuments": null,
                "originalFilter": filter.as_ref().map(Value::to_string),
                "context": context,
                "function": function,
            }))
        };
        let mut change = Change {
            details: details(None),
            effects: Effects { counts_deletions: true, ..Effects::default() },
            custom_metadata,
            conditional: true,
            ..Change::new(&guard, uid, TaskKind::DocumentEdition)
        };
        let Some(index) = self.state.catalog.get(uid) else {
            change.details = details(Some(0));
            return self.conclude_at_once(change.without_index()).await;
        };
        if let Some(body) = fails_with {
            change.details = details(Some(0));
            return self.conclude_at_once(Change { fails_with: Some(body), ..change }).await;
        }
        let body = json!({
            "function": wrapper(),
            "context": { "function": function, "context": context },
            "filter": filter,
        });
        let path = format!("/indexes/{}/documents/edit", index.physical);
        let call = Call::json("edit", Method::POST, path, body.to_string().into_bytes(), self.state.write_timeout());
        let topology = self.state.ensure_placement(index.shards).await?;
        broadcast(&topology, &index, &call, &mut change);
        self.change(&topology, &index, change).await
    }
}
