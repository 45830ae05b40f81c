// Subscriptions, by the class of @atproto/xrpc-server that every ATProto consumer in
// Node reads streams with, and one level below it, by its frames.

import { connect, createServer } from 'node:net'
import { on, once } from 'node:events'
import { Subscription } from '@atproto/xrpc-server'
import { WebSocket } from 'ws'
import { lexicons, nsid, RELAY } from './world.js'

const METHOD = nsid('subscribeConvoEvents')

/** What a frame is, without its namespace: `messageEvent`, `synced`. */
export const kind = (event) => event.$type.split('#')[1]

/** A ticket, which unlike a token can be fetched anew for every connection. */
export const ticket = async (client, convoId) =>
  (await client.procedure('getSubscriptionTicket', { convoId })).ticket

/**
 * A subscription whose frames are validated against the lexicon. `params` is asked
 * before every connection.
 */
export const subscribe = (params, { address = RELAY, ...options } = {}) =>
  new Subscription({
    service: `wss://${address}`,
    method: METHOD,
    getParams: params,
    validate: (event) => lexicons.assertValidXrpcMessage(METHOD, event),
    ...options,
  })

/** Reads a subscription until `enough` says so of everything read. */
export const readUntil = async (subscription, enough) => {
  const events = []
  for await (const event of subscription) {
    events.push(event)
    if (enough(events)) break
  }
  return events
}

const open = (params, ...rest) =>
  new WebSocket(`wss://${RELAY}/xrpc/${METHOD}?${new URLSearchParams(params)}`, ...rest)

/** Opens a WebSocket and gives what arrived until it was closed, and how it was. */
export const listen = async (params, options) => {
  const socket = open(params, options)
  const frames = []
  socket.on('message', (bytes) => frames.push(new Uint8Array(bytes)))
  const [code, reason] = await once(socket, 'close')
  return { frames, code, reason: reason.toString() }
}

/**
 * Opens a WebSocket in the JSON framing: what to say, and what is said, by its kind. What was
 * told shortly before may come after `#synced`, so nothing is anybody's by its place alone.
 */
export const talk = async (params) => {
  const socket = open(params, 'mls-relay.json.v1')
  const frames = on(socket, 'message')
  await once(socket, 'open')
  return {
    say: (frame) => socket.send(JSON.stringify(frame)),
    async hear(kind) {
      let frame
      do frame = JSON.parse((await frames.next()).value[0])
      while (frame.t !== kind)
      return frame
    },
    close: () => socket.close(),
  }
}

/** Asks for a WebSocket that is refused; gives the answer in HTTP. */
export const refused = async (params, options) => {
  const socket = open(params, options)
  socket.on('error', () => {})
  const [request, response] = await once(socket, 'unexpected-response')
  const body = JSON.parse(Buffer.concat(await response.toArray()).toString())
  request.socket.destroy()
  return { status: response.statusCode, headers: response.headers, ...body }
}

/** A wire to the relay that can be cut, or forget its connections without a word. */
export const wire = async () => {
  const [host, port] = RELAY.split(':')
  const ends = new Set()
  const server = createServer((near) => {
    const far = connect(Number(port), host)
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one)
      one.on('error', () => {}).on('close', () => other.destroy()).pipe(other)
    }
  })
  await once(server.listen(0, 'localhost'), 'listening')
  return {
    address: `localhost:${server.address().port}`,
    cut: () => ends.forEach((end) => end.destroy()),
    forget: () => ends.forEach((end) => end.unpipe().pause()),
    close() {
      server.close()
      this.cut()
    },
  }
}
