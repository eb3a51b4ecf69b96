#!/usr/bin/env bash
# instant-meilisearch asks for one hit more than the page shows, and before its first page for a whole page that nobody sees.
#
# Library: @meilisearch/instant-meilisearch (npm) 0.31.3, Node.js 20, without any option.
# Input: one search for the first page of 20 hits with a facet, then one for the third page of 7 hits, `distinct: 'sku'`.
# Seen: the first search makes two requests: one without a query and without filters, `limit` 21, only for its facets, and
#   the search itself, `limit` 21 as well. The second asks for `limit` 8, `offset` 14. The 21st hit only tells whether there
#   is a next page. `distinct`, which InstantSearch knows and Meilisearch takes, is in no request.
# Why it matters: whoever merges or caches pages sees offsets and limits that do not fit each other, and the most expensive
#   request of a page is one whose hits are thrown away.
# Exit status: 0 as described, 1 something has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @meilisearch/instant-meilisearch@0.31.3
cat >try.mjs <<'NODE'
import http from 'node:http'
import { instantMeiliSearch } from '@meilisearch/instant-meilisearch'

const asked = []
const server = http.createServer((request, response) => {
  let body = ''
  request.on('data', (piece) => (body += piece)).on('end', () => {
    const { queries } = JSON.parse(body)
    for (const { q, limit, offset, distinct } of queries) asked.push(JSON.stringify({ q, limit, offset, distinct }))
    const result = { indexUid: 'shop', hits: [], query: '', processingTimeMs: 0, limit: 0, offset: 0, estimatedTotalHits: 0, facetDistribution: {}, facetStats: {} }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ results: queries.map(() => result) }))
  })
})
server.listen(0, '127.0.0.1', async () => {
  const { searchClient } = instantMeiliSearch(`http://127.0.0.1:${server.address().port}`, 'key')
  await searchClient.search([{ indexName: 'shop', params: { query: 'shoe', facets: ['brand'] } }])
  await searchClient.search([{ indexName: 'shop', params: { query: 'shoe', page: 2, hitsPerPage: 7, distinct: 'sku', facets: ['brand'] } }])
  console.log(asked.join('\n'))
  const expected = ['{"limit":21,"offset":0}', '{"q":"shoe","limit":21,"offset":0}', '{"q":"shoe","limit":8,"offset":14}']
  server.close()
  process.exit(asked.join() === expected.join() ? 0 : 1)
})
NODE
node try.mjs
