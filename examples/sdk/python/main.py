"""A walk through Miroir with the official Meilisearch SDK for Python.

MEILISEARCH_URL and MEILISEARCH_MASTER_KEY say where to; a Meilisearch server would do as well.
"""

import json
import os
import pathlib
import sys

import meilisearch
from meilisearch.errors import MeilisearchApiError

URL = os.environ.get("MEILISEARCH_URL", "http://127.0.0.1:7700")
MASTER_KEY = os.environ.get("MEILISEARCH_MASTER_KEY", "miroir-demo-master-key")
INDEX = "films-python"
FILMS = json.loads((pathlib.Path(__file__).parent.parent / "films.json").read_text())

client = meilisearch.Client(URL, MASTER_KEY)


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: expected {wanted!r}, found {found!r}")
    print(f"{what}: {found!r}")


def done(task_info):
    task = client.wait_for_task(task_info.task_uid, timeout_in_ms=60_000)
    expect(f"task {task.uid} ({task.type})", task.status, "succeeded")


def titles(answer):
    return sorted(hit["title"] for hit in answer["hits"])


def main():
    expect("health", client.health()["status"], "available")

    done(client.create_index(INDEX, {"primaryKey": "id"}))
    index = client.index(INDEX)
    done(index.update_settings({"filterableAttributes": ["genres", "studio", "year"], "sortableAttributes": ["year"]}))
    expect("filterable", index.get_filterable_attributes(), ["genres", "studio", "year"])
    done(index.add_documents(FILMS))
    expect("documents", index.get_stats().number_of_documents, len(FILMS))

    expect("a typing error", titles(index.search("wondr woman")), ["Wonder Woman"])
    answer = index.search("", {"filter": ["studio = north", "year > 2000"], "facets": ["genres"], "sort": ["year:asc"]})
    expect(
        "filtered, in the order of years",
        [hit["title"] for hit in answer["hits"]],
        ["Spirited Away", "Life of Pi", "Mad Max: Fury Road", "Wonderstruck"],
    )
    expect(
        "facets",
        answer["facetDistribution"],
        {"genres": {"action": 1, "adventure": 2, "drama": 2, "family": 2, "fantasy": 1}},
    )

    queries = [{"indexUid": INDEX, "q": "moana"}, {"indexUid": INDEX, "q": "", "filter": "genres = romance"}]
    results = client.multi_search(queries)["results"]
    expect("two searches at once", [titles(answer) for answer in results], [["Moana"], ["Carol"]])
    federated = client.multi_search(queries, federation={"limit": 10})
    expect("as one list", titles(federated), ["Carol", "Moana"])

    key = client.create_key({"actions": ["search"], "indexes": [INDEX], "expiresAt": None})
    token = client.generate_tenant_token(key.uid, {INDEX: {"filter": "studio = lumen"}}, api_key=key.key)
    tenant = meilisearch.Client(URL, token)
    expect("what a tenant finds", titles(tenant.index(INDEX).search("")), ["Carol", "Moana", "Wonder Woman"])
    try:
        tenant.index(INDEX).delete_all_documents()
        sys.exit("a tenant may delete")
    except MeilisearchApiError as error:
        expect("a tenant that deletes", error.code, "invalid_api_key")

    done(index.delete_document(1))
    expect("without one", client.index(INDEX).get_documents({"limit": 1}).total, len(FILMS) - 1)
    client.delete_key(key.uid)
    done(index.delete())
    print("python: all good")


if __name__ == "__main__":
    main()
