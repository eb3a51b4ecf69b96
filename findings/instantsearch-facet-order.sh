#!/usr/bin/env bash
# The order of facet values is lost in JavaScript where values look like whole numbers.
#
# Libraries: meilisearch (npm) 0.57.0, @meilisearch/instant-meilisearch (npm) 0.31.3, Node.js 20.
# Input: an answer whose `facetDistribution` is ordered by count, as one asks for with `sortFacetValuesBy: count`; JSON keeps
#   the order in the text of the object: {"2019": 90, "large": 50, "2021": 40, "7": 3}.
# Seen: both clients hand the values over as 7, 2019, 2021, large: an object of JavaScript lists keys that are array indexes
#   first and ascending, whatever the text said. With values that are not such keys ("x2019") the order survives.
# Why it matters: an order of facet values by count arrives only for words; for years and sizes a page must sort again.
# Exit status: 0 as described, 1 something has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund meilisearch@0.57.0 @meilisearch/instant-meilisearch@0.31.3
cat >try.mjs <<'NODE'
import http from 'node:http'
import { Meilisearch } from 'meilisearch'
import { instantMeiliSearch } from '@meilisearch/instant-meilisearch'

const FACETS = '{"size":{"2019":90,"large":50,"2021":40,"7":3},"name":{"x2019":90,"large":50,"x2021":40,"x7":3}}'
const RESULT = `{"indexUid":"shop","hits":[],"query":"","processingTimeMs":0,"limit":20,"offset":0,"estimatedTotalHits":93,"facetDistribution":${FACETS},"facetStats":{}}`
const server = http.createServer((request, response) => {
  request.resume().on('end', () => {
    response.setHeader('content-type', 'application/json')
    response.end(request.url === '/multi-search' ? `{"results":[${RESULT}]}` : RESULT)
  })
})
server.listen(0, '127.0.0.1', async () => {
  const host = `http://127.0.0.1:${server.address().port}`
  const bySdk = (await new Meilisearch({ host }).index('shop').search('', { facets: ['size', 'name'] })).facetDistribution
  const { searchClient } = instantMeiliSearch(host, 'key')
  const byWidgets = (await searchClient.search([{ indexName: 'shop', params: { query: '', facets: ['size', 'name'] } }])).results[0].facets
  const seen = [bySdk, byWidgets].flatMap((facets) => [facets.size, facets.name]).map((values) => Object.keys(values).join(' '))
  console.log(seen.join('\n'))
  const lost = '7 2019 2021 large'
  const kept = 'x2019 large x2021 x7'
  server.close()
  process.exit(seen.join() === [lost, kept, lost, kept].join() ? 0 : 1)
})
NODE
node try.mjs
