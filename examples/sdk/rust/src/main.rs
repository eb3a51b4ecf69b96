//! A walk through Miroir with the official Meilisearch SDK for Rust.
//!
//! `MEILISEARCH_URL` and `MEILISEARCH_MASTER_KEY` say where to; a Meilisearch server would do as well.

use std::env;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meilisearch_sdk::client::Client;
use meilisearch_sdk::documents::DocumentsQuery;
use meilisearch_sdk::errors::{Error, ErrorCode};
use meilisearch_sdk::key::{Action, KeyBuilder};
use meilisearch_sdk::search::{MultiSearchResponse, SearchQuery, SearchResults, Selectors};
use meilisearch_sdk::settings::Settings;
use meilisearch_sdk::task_info::TaskInfo;
use meilisearch_sdk::tasks::Task;
use serde::{Deserialize, Serialize};
use serde_json::json;

const INDEX: &str = "films-rust";
const FILMS: &str = include_str!("../../films.json");

#[derive(Debug, Deserialize, Serialize)]
struct Film {
    id: u32,
    title: String,
    genres: Vec<String>,
    year: u32,
    studio: String,
}

fn expect<T: Debug + PartialEq>(what: &str, found: T, wanted: T) -> Result<()> {
    ensure!(found == wanted, "{what}: expected {wanted:?}, found {found:?}");
    println!("{what}: {found:?}");
    Ok(())
}

async fn done(client: &Client, enqueued: TaskInfo) -> Result<()> {
    match client.wait_for_task(enqueued, None, Some(Duration::from_secs(60))).await? {
        Task::Succeeded { content } => {
            println!("task {}: succeeded", content.uid);
            Ok(())
        }
        other => bail!("a task did not succeed: {other:?}"),
    }
}

fn titles(answer: &SearchResults<Film>) -> Vec<&str> {
    let mut titles: Vec<&str> = in_order(answer);
    titles.sort_unstable();
    titles
}

fn in_order(answer: &SearchResults<Film>) -> Vec<&str> {
    answer.hits.iter().map(|hit| hit.result.title.as_str()).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = env::var("MEILISEARCH_URL").unwrap_or_else(|_| "http://127.0.0.1:7700".to_owned());
    let master_key = env::var("MEILISEARCH_MASTER_KEY").unwrap_or_else(|_| "miroir-demo-master-key".to_owned());
    let client = Client::new(&url, Some(master_key))?;
    let films: Vec<Film> = serde_json::from_str(FILMS)?;
    expect("health", client.health().await?.status.as_str(), "available")?;

    done(&client, client.create_index(INDEX, Some("id")).await?).await?;
    let index = client.index(INDEX);
    let settings =
        Settings::new().with_filterable_attributes(["genres", "studio", "year"]).with_sortable_attributes(["year"]);
    done(&client, index.set_settings(&settings).await?).await?;
    done(&client, index.add_documents(&films, None).await?).await?;
    expect("documents", index.get_stats().await?.number_of_documents, films.len())?;

    let answer = index.search().with_query("wondr woman").execute().await?;
    expect("a typing error", titles(&answer), vec!["Wonder Woman"])?;
    let answer = index
        .search()
        .with_filter("studio = north AND year > 2000")
        .with_facets(Selectors::Some(&["genres"]))
        .with_sort(&["year:asc"])
        .execute()
        .await?;
    let wanted = vec!["Spirited Away", "Life of Pi", "Mad Max: Fury Road", "Wonderstruck"];
    expect("filtered, in the order of years", in_order(&answer), wanted)?;
    let facets = answer.facet_distribution.as_ref().and_then(|facets| facets.get("genres")).context("no facets")?;
    expect("films by facet", (facets.get("adventure"), facets.get("romance")), (Some(&2), None))?;

    let (first, second) = (
        SearchQuery::new(&index).with_query("moana").build(),
        SearchQuery::new(&index).with_filter("genres = romance").build(),
    );
    let both: MultiSearchResponse<Film> =
        client.multi_search().with_search_query(first).with_search_query(second).execute().await?;
    let found: Vec<Vec<&str>> = both.results.iter().map(titles).collect();
    expect("two searches at once", found, vec![vec!["Moana"], vec!["Carol"]])?;

    let key = KeyBuilder::new().with_action(Action::Search).with_index(INDEX).execute(&client).await?;
    let rules = json!({ INDEX: { "filter": "studio = lumen" } });
    let token = client.generate_tenant_token(key.uid.clone(), rules, Some(&key.key), None)?;
    let tenant = Client::new(&url, Some(token))?.index(INDEX);
    let answer = tenant.search().execute().await?;
    expect("what a tenant finds", titles(&answer), vec!["Carol", "Moana", "Wonder Woman"])?;
    match tenant.delete_all_documents().await {
        Err(Error::Meilisearch(error)) => {
            expect("a tenant that deletes", error.error_code, ErrorCode::InvalidApiKey)?;
        }
        other => bail!("a tenant may delete: {other:?}"),
    }

    done(&client, index.delete_document(1).await?).await?;
    let page = DocumentsQuery::new(&index).with_limit(1).execute::<Film>().await?;
    expect("without one", page.total as usize, films.len() - 1)?;
    client.delete_key(&key).await?;
    done(&client, index.delete().await?).await?;
    println!("rust: all good");
    Ok(())
}
