// The stream of events, as ATProto's own Subscription and Frame classes read it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorFrame, Frame } from '@atproto/xrpc-server'
import { refusal } from './lib/client.js'
import { events } from './lib/events.js'
import { pair } from './lib/phone.js'
import { kind, listen, readUntil, refused, subscribe, talk, ticket, wire } from './lib/stream.js'
import { RELAY, nsid } from './lib/world.js'

const options = { timeout: 30_000 }
const messages = (events) => events.filter((event) => kind(event) === 'messageEvent')
const ids = (events) => messages(events).map(({ messageId }) => messageId)
const synced = (events) => kind(events.at(-1)) === 'synced'

/** Sends so many messages; gives their ids. */
const chatter = async (phone, count) => {
  const sent = []
  for (let number = 0; number < count; number++) {
    sent.push((await phone.send(`${number}`)).messageId)
  }
  return sent
}

test('a subscriber hears of every message in order', options, async () => {
  const { alice, bob, convo } = await pair()
  const authorization = `Bearer ${await bob.account.token('subscribeConvoEvents')}`
  let sent
  const events = await readUntil(
    subscribe(() => ({}), { headers: { authorization } }),
    (events) => {
      // Once we are heard to be live, somebody writes.
      if (synced(events)) sent = chatter(alice, 5)
      return messages(events).length === 5
    },
  )
  assert.equal(kind(events[0]), 'synced')
  assert.deepEqual(events[0].conversations.map(({ convoId }) => convoId), [convo.id])
  assert.deepEqual(ids(events), await sent)
  assert.deepEqual(await bob.read(), ['0', '1', '2', '3', '4'])
  const seqs = messages(events).map(({ seq }) => seq)
  assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b))

  const { cursor } = events.at(-1)
  const moved = await bob.client.procedure('updateCursor', { convoId: convo.id, cursor })
  assert.equal(moved.success, true)
})

test('who resumes from a cursor gets the rest, once', options, async () => {
  const { alice, bob } = await pair()
  const since = async (cursor, enough) =>
    readUntil(subscribe(async () => ({ cursor, ticket: await ticket(bob.client) })), enough)

  const [first] = await since(undefined, synced)
  const sent = await chatter(alice, 4)
  const some = await since(first.cursor, (events) => messages(events).length === 2)
  assert.deepEqual(ids(some), sent.slice(0, 2))
  const rest = await since(messages(some).at(-1).cursor, synced)
  assert.deepEqual(ids(rest), sent.slice(2))
  // The number of an event is as good a cursor as its text.
  const again = await since(String(messages(some).at(-1).seq), synced)
  assert.deepEqual(ids(again), sent.slice(2))
})

test('a cut connection costs nothing', options, async (context) => {
  const { alice, bob } = await pair()
  const line = await wire()
  context.after(() => line.close())
  const seen = []
  let sent, cut
  const resume = async () => ({ cursor: seen.at(-1)?.cursor, ticket: await ticket(bob.client) })
  const subscription = subscribe(resume, { address: line.address, maxReconnectSeconds: 1 })
  for await (const event of subscription) {
    if (event.cursor) seen.push(event)
    sent ??= chatter(alice, 6)
    if (messages(seen).length === 3 && !cut) {
      line.cut()
      cut = true
    }
    if (messages(seen).length === 6) break
  }
  assert.deepEqual(ids(seen), await sent)
})

test('a stream of one conversation ends when the conversation does', options, async () => {
  const { alice, bob, convo } = await pair()
  let removal
  const events = await readUntil(
    subscribe(async () => ({ convoId: convo.id, ticket: await ticket(bob.client, convo.id) })),
    (events) => {
      if (synced(events)) removal = alice.remove(bob.did)
      return false
    },
  )
  await removal
  const [change, info] = events.slice(-2)
  assert.equal(kind(change), 'membershipChangeEvent')
  assert.deepEqual([change.did, change.action], [bob.did, 'removed'])
  assert.deepEqual([kind(info), info.name], ['info', 'ConvoEnded'])
})

test('frames are those of ATProto event streams, errors too', options, async () => {
  const { bob } = await pair()
  const cursor = String(Number.MAX_SAFE_INTEGER)
  const { frames, code, reason } = await listen({ cursor, ticket: await ticket(bob.client) })
  const [frame] = frames.map((bytes) => Frame.fromBytes(bytes)).slice(-1)
  assert.ok(frame instanceof ErrorFrame)
  assert.deepEqual([frame.op, frame.type, frame.code], [-1, undefined, 'FutureCursor'])
  assert.deepEqual([code, reason], [1008, 'FutureCursor'])

  const future = subscribe(async () => ({ cursor, ticket: await ticket(bob.client) }))
  await assert.rejects(readUntil(future, () => false), (thrown) => thrown.error === 'FutureCursor')
})

test('what a client says is heard', options, async (context) => {
  const { alice, bob, convo } = await pair()
  const [hers, his] = await Promise.all(
    [alice, bob].map(async ({ client }) => talk({ ticket: await ticket(client) })),
  )
  context.after(() => [hers, his].forEach((end) => end.close()))
  for (const end of [hers, his]) await end.hear('#synced')
  hers.say({ $type: '#ping' })
  assert.deepEqual(await hers.hear('#pong'), { op: 1, t: '#pong', body: {} })
  // Not for the relay: it is ignored, and the stream goes on.
  hers.say({ hello: 'relay' })
  hers.say({ $type: '#typing', convoId: convo.id, isTyping: true })
  const typing = { convoId: convo.id, did: alice.did, isTyping: true }
  assert.deepEqual(await his.hear('#typingEvent'), { op: 1, t: '#typingEvent', body: typing })
})

test('an ephemeral message is heard in either framing and has no place', options, async (context) => {
  const { alice, bob, convo } = await pair()
  const his = await talk({ ticket: await ticket(bob.client) })
  context.after(() => his.close())
  await his.hear('#synced')
  let said
  const events = await readUntil(
    subscribe(async () => ({ ticket: await ticket(bob.client) })),
    (events) => {
      if (synced(events)) said = alice.say('for a moment')
      return kind(events.at(-1)) === 'ephemeralEvent'
    },
  )
  const { input, answer } = await said
  assert.deepEqual(Object.keys(answer).sort(), ['epoch', 'receivedAt'])
  const event = events.at(-1)
  assert.equal(event.cursor ?? event.seq, undefined)
  assert.equal(event.convoId, convo.id)
  assert.deepEqual(Buffer.from(event.ciphertext), Buffer.from(input.ciphertext))
  assert.equal((await bob.group.receive(event.ciphertext)).text, 'for a moment')
  const { body } = await his.hear('#ephemeralEvent')
  assert.equal(body.epoch, input.epoch)
  const base64 = Buffer.from(input.ciphertext).toString('base64').replace(/=+$/, '')
  assert.deepEqual(body.ciphertext, { $bytes: base64 })
  assert.deepEqual(await bob.read(), [])
})

test('messages come with their events to who asks', options, async () => {
  const { alice, bob, convo } = await pair()
  const ask = (cursor) => async () => ({ cursor, hydrate: true, ticket: await ticket(bob.client) })
  let sent
  const live = await readUntil(subscribe(ask()), (events) => {
    if (synced(events)) sent = chatter(alice, 3)
    return messages(events).length === 3
  })
  const ids = await sent
  const { messages: views } = await bob.client.query('getMessages', { convoId: convo.id })
  assert.deepEqual(views.map(({ id }) => id), ids)
  const replayed = await readUntil(subscribe(ask(live[0].cursor)), synced)
  for (const events of [live, replayed]) {
    for (const [index, { message }] of messages(events).entries()) {
      const { ciphertext, ...rest } = views[index]
      assert.deepEqual(Buffer.from(message.ciphertext), Buffer.from(ciphertext))
      assert.deepEqual({ ...message, ciphertext: undefined }, { ...rest, ciphertext: undefined })
    }
  }
})

test('who has no WebSocket reads the same as server-sent events', options, async () => {
  const { alice, bob } = await pair()
  let sent
  const seen = []
  for await (const event of events(bob.client)) {
    seen.push(event)
    if (kind(event) === 'synced') sent = chatter(alice, 3)
    if (messages(seen).length === 3) break
  }
  assert.deepEqual(ids(seen), await sent)
  assert.ok(seen.every(({ id, cursor }) => id === cursor))
  // A browser says by itself what it was told last.
  const rest = []
  for await (const event of events(bob.client, {}, messages(seen)[0].id)) {
    if (kind(event) === 'synced') break
    rest.push(event)
  }
  assert.deepEqual(ids(rest), (await sent).slice(1))
})

test('a refusal before the stream is an XRPC error', options, async () => {
  const { bob } = await pair()
  const anonymous = await refused({})
  assert.deepEqual([anonymous.status, anonymous.error], [401, 'AuthenticationRequired'])
  const used = await ticket(bob.client)
  await readUntil(subscribe(() => ({ ticket: used })), synced)
  const replayed = await refused({ ticket: used })
  assert.deepEqual([replayed.status, replayed.error], [401, 'JwtReplayed'])

  const strange = await refused({ ticket: await ticket(bob.client), convoId: 'ab'.repeat(16) })
  assert.deepEqual([strange.status, strange.error], [404, 'ConvoNotFound'])
  const plain = await fetch(`https://${RELAY}/xrpc/${nsid('subscribeConvoEvents')}`)
  assert.equal(plain.status, 426)
  const outsider = ticket(bob.client, 'ab'.repeat(16))
  await assert.rejects(outsider, refusal('ConvoNotFound'))
})
