// A walk through Miroir with the official Meilisearch SDK for JavaScript.
//
// MEILISEARCH_URL and MEILISEARCH_MASTER_KEY say where to; a Meilisearch server would do as well.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { Meilisearch, MeilisearchApiError } from 'meilisearch'
import { generateTenantToken } from 'meilisearch/token'

const host = process.env.MEILISEARCH_URL ?? 'http://127.0.0.1:7700'
const apiKey = process.env.MEILISEARCH_MASTER_KEY ?? 'miroir-demo-master-key'
const uid = 'films-javascript'
const films = JSON.parse(await readFile(new URL('../films.json', import.meta.url), 'utf8'))

const client = new Meilisearch({ host, apiKey })

function expect(what, found, wanted) {
  assert.deepEqual(found, wanted, what)
  console.log(`${what}:`, JSON.stringify(found))
}

async function done(enqueued) {
  const task = await enqueued.waitTask({ timeout: 60_000 })
  expect(`task ${task.uid} (${task.type})`, task.status, 'succeeded')
}

const titles = (answer) => answer.hits.map((hit) => hit.title).sort()

expect('health', (await client.health()).status, 'available')

await done(client.createIndex(uid, { primaryKey: 'id' }))
const index = client.index(uid)
await done(
  index.updateSettings({ filterableAttributes: ['genres', 'studio', 'year'], sortableAttributes: ['year'] }),
)
expect('filterable', await index.getFilterableAttributes(), ['genres', 'studio', 'year'])
await done(index.addDocuments(films))
expect('documents', (await index.getStats()).numberOfDocuments, films.length)

expect('a typing error', titles(await index.search('wondr woman')), ['Wonder Woman'])
const answer = await index.search('', {
  filter: ['studio = north', 'year > 2000'],
  facets: ['genres'],
  sort: ['year:asc'],
})
expect(
  'filtered, in the order of years',
  answer.hits.map((hit) => hit.title),
  ['Spirited Away', 'Life of Pi', 'Mad Max: Fury Road', 'Wonderstruck'],
)
expect('facets', answer.facetDistribution, {
  genres: { action: 1, adventure: 2, drama: 2, family: 2, fantasy: 1 },
})

const queries = [
  { indexUid: uid, q: 'moana' },
  { indexUid: uid, q: '', filter: 'genres = romance' },
]
const { results } = await client.multiSearch({ queries })
expect('two searches at once', results.map(titles), [['Moana'], ['Carol']])
const federated = await client.multiSearch({ federation: { limit: 10 }, queries })
expect('as one list', titles(federated), ['Carol', 'Moana'])

const key = await client.createKey({ actions: ['search'], indexes: [uid], expiresAt: null })
const token = await generateTenantToken({
  apiKey: key.key,
  apiKeyUid: key.uid,
  searchRules: { [uid]: { filter: 'studio = lumen' } },
})
const tenant = new Meilisearch({ host, apiKey: token })
expect('what a tenant finds', titles(await tenant.index(uid).search('')), ['Carol', 'Moana', 'Wonder Woman'])
const refusal = await tenant.index(uid).deleteAllDocuments().catch((error) => error)
assert(refusal instanceof MeilisearchApiError, 'a tenant may delete')
expect('a tenant that deletes', refusal.cause.code, 'invalid_api_key')

await done(index.deleteDocument(1))
expect('without one', (await index.getDocuments({ limit: 1 })).total, films.length - 1)
await client.deleteKey(key.uid)
await done(index.delete())
console.log('javascript: all good')
