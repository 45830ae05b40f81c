// A PLC directory on loopback: `GET /{did}` answers with the document that was
// published last, so that a key can rotate under the relay's eyes.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { PLC_URL } from './world.js'

const documents = new Map()

const server = createServer((request, response) => {
  const document = documents.get(decodeURIComponent(request.url.slice(1)))
  response.writeHead(document ? 200 : 404, { 'content-type': 'application/did+ld+json' })
  response.end(JSON.stringify(document ?? { message: 'DID not registered' }))
})

// It lasts as long as the tests, and does not make them last.
server.unref().on('connection', (socket) => socket.unref())
server.listen(Number(PLC_URL.port), PLC_URL.hostname)
await once(server, 'listening')

export const publish = (document) => documents.set(document.id, document)
