// A page of its own origin that searches through Miroir with a search key: `?url=...&key=...` say where and with which.
import { instantMeiliSearch } from "@meilisearch/instant-meilisearch";

const { widgets } = globalThis.instantsearch;
const parameters = new URLSearchParams(location.search);
const url = parameters.get("url") ?? "http://127.0.0.1:7700";
const key = parameters.get("key") ?? "";
const index = "packages";

// On a phone what was found comes first.
document.getElementById("filters").open = matchMedia("(min-width: 40rem)").matches;

const { searchClient } = instantMeiliSearch(url, key, { finitePagination: true });
const search = globalThis.instantsearch({ indexName: index, searchClient, future: { preserveSharedStateOnUnmount: true } });

search.addWidgets([
  widgets.searchBox({ container: "#searchbox", placeholder: "Search packages" }),
  widgets.stats({ container: "#stats" }),
  widgets.hits({
    container: "#hits",
    templates: {
      item: (hit, { html, components }) => html`
        <strong>${components.Highlight({ hit, attribute: "name" })}</strong>
        <div>${components.Highlight({ hit, attribute: "summary" })}</div>
        <small class="facts">${hit.section}, ${hit.priority}, ${Math.round(hit.size / 1000)} kB</small>`,
    },
  }),
  widgets.refinementList({ container: "#section", attribute: "section", searchable: true, limit: 6 }),
  widgets.rangeInput({ container: "#size", attribute: "size" }),
  // Asks for the facets ["*"], whatever they are.
  widgets.dynamicWidgets({
    container: "#facets",
    widgets: [
      (container) =>
        widgets.panel({ templates: { header: () => "Priority" } })(widgets.refinementList)({ container, attribute: "priority" }),
    ],
    transformItems: () => ["priority"],
  }),
  widgets.sortBy({
    container: "#sort",
    items: [
      { label: "Best first", value: index },
      { label: "Smallest first", value: `${index}:size:asc` },
      { label: "Largest first", value: `${index}:size:desc` },
    ],
  }),
  widgets.hitsPerPage({
    container: "#per-page",
    items: [
      { label: "8 a page", value: 8, default: true },
      { label: "20 a page", value: 20 },
    ],
  }),
  widgets.currentRefinements({ container: "#current" }),
  widgets.clearRefinements({ container: "#clear" }),
  widgets.pagination({ container: "#pagination" }),
]);
search.on("error", (error) => console.error("search failed:", error.message));
search.start();
