//! All documents of a replica, page by page.

use miroir_core::replica::digest::{Copied, Depth, TooMany};
use miroir_core::replica::mirror::{Paging, Taken};

use crate::state::client_priority::ClientPriority;
use crate::write::access::{Failed, Replica};

/// How often a listing is begun anew because documents moved under it.
const RESTARTS: u32 = 5;

/// List all documents of a replica into what `collect` makes, making way for clients. Returns it with the number of documents.
pub(super) async fn list<T>(
    client_priority: &ClientPriority,
    replica: &Replica,
    depth: Depth,
    batch: u64,
    collect: impl Fn() -> T,
    mut take: impl FnMut(&mut T, &Copied) -> Result<(), TooMany>,
) -> Result<(T, u64), Failed> {
    let (mut collected, mut paging, mut batch, mut restarts, mut documents) =
        (collect(), Paging::default(), batch, 0, 0);
    while !paging.has_ended() {
        let window = paging.window(batch);
        let slot = client_priority.slot().await;
        let page = replica.page(window, depth).await;
        if let Some(slot) = slot {
            slot.rest().await;
        }
        let page = match page {
            Ok((page, _)) => page,
            Err(Failed::TooLarge(_)) if batch > 1 => {
                batch /= 2;
                continue;
            }
            Err(failed) => return Err(failed),
        };
        let ids: Vec<&str> = page.iter().map(|document| document.copied.id.as_str()).collect();
        match paging.take(window, &ids) {
            Taken::New(new) => {
                documents += new.len() as u64;
                for document in new.into_iter().filter_map(|at| page.get(at)) {
                    take(&mut collected, &document.copied).map_err(|many| Failed::TooLarge(many.0))?;
                }
            }
            Taken::Again => {}
            Taken::Lost if restarts < RESTARTS => {
                restarts += 1;
                (collected, paging) = (collect(), Paging::default());
            }
            Taken::Lost => return Err(Failed::Unanswered("documents are deleted faster than they are listed".into())),
        }
    }
    Ok((collected, documents))
}
