// A PLC directory on loopback: `GET /{did}` answers with the document that was
// published last, so that a key can rotate under the relay's eyes. It is an AppView as
// well, as far as a relay asks one: app.bsky.graph.getRelationships.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { PLC_URL } from './world.js'

const documents = new Map()
const blocks = new Set()

const RELATIONSHIPS = '/xrpc/app.bsky.graph.getRelationships'

const relationships = (query) => {
  const actor = query.get('actor')
  const uri = (blocker, blocked) =>
    blocks.has(`${blocker} ${blocked}`) ? `at://${blocker}/app.bsky.graph.block/3k` : undefined
  const between = (did) => ({ did, blocking: uri(actor, did), blockedBy: uri(did, actor) })
  return { actor, relationships: query.getAll('others').map(between) }
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, PLC_URL)
  if (pathname === RELATIONSHIPS) return response.end(JSON.stringify(relationships(searchParams)))
  const document = documents.get(decodeURIComponent(request.url.slice(1)))
  response.writeHead(document ? 200 : 404, { 'content-type': 'application/did+ld+json' })
  response.end(JSON.stringify(document ?? { message: 'DID not registered' }))
})

// It lasts as long as the tests, and does not make them last.
server.unref().on('connection', (socket) => socket.unref())
server.listen(Number(PLC_URL.port), PLC_URL.hostname)
await once(server, 'listening')

/** One account blocks another, or does so no more. */
export const block = (blocker, blocked) => blocks.add(`${blocker} ${blocked}`)
export const unblock = (blocker, blocked) => blocks.delete(`${blocker} ${blocked}`)

export const publish = (document) => documents.set(document.id, document)
