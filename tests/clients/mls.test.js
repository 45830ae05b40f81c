// ts-mls and OpenMLS, two implementations of RFC 9420 that share no code, in the
// same groups through the relay.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ulid } from 'ulid'
import { P256 } from './lib/account.js'
import { OpenMlsPhone } from './lib/openmls.js'
import { Phone } from './lib/phone.js'

const options = { timeout: 60_000 }

/** A registered phone of each kind. */
const both = async (context) => {
  const rust = await OpenMlsPhone.create()
  context.after(() => rust.hangUp())
  await rust.order('register')
  const node = await Phone.create(P256)
  await node.register(2)
  return { rust, node }
}

const rustSends = async (rust, text) => {
  const messageId = ulid()
  await rust.order('send', { messageId, text })
  return messageId
}

/** Each writes a little and a lot, and the other reads exactly that. */
const converse = async (rust, node) => {
  for (const text of ['hello', 'a long story '.repeat(1000)]) {
    const messageId = await rustSends(rust, text)
    assert.deepEqual(await node.read(), [text])
    const sent = await node.send(`${text}, too`)
    const [read, ...more] = await rust.order('read')
    assert.deepEqual(more, [])
    assert.equal(read.text, `${text}, too`)
    // The authenticated data is the id that the relay files the message under.
    assert.equal(read.messageId, sent.messageId)
    assert.equal(read.sender, node.device.identity)
    assert.notEqual(messageId, sent.messageId)
  }
}

const agree = async (rust, node) => {
  const { epoch, authenticator, members } = await rust.order('describe')
  assert.equal(epoch, node.group.epoch)
  assert.equal(authenticator, node.group.authenticator)
  assert.deepEqual(members, node.group.members)
}

test('OpenMLS founds a group, ts-mls joins it', options, async (context) => {
  const { rust, node } = await both(context)
  const convoId = await rust.order('found', { dids: [node.did] })
  await node.join(convoId)
  await agree(rust, node)
  await converse(rust, node)
})

test('ts-mls founds a group, OpenMLS joins it', options, async (context) => {
  const { rust, node } = await both(context)
  const { id: convoId } = await node.found([rust.did])
  await rust.order('join', { convoId })
  await agree(rust, node)
  await converse(rust, node)
})

test('both commit in turn, and both follow', options, async (context) => {
  const { rust, node } = await both(context)
  const { id: convoId } = await node.found([rust.did])
  await rust.order('join', { convoId })

  const [third, fourth] = [await Phone.create(), await OpenMlsPhone.create()]
  context.after(() => fourth.hangUp())
  await third.register()
  await fourth.order('register')

  assert.equal(await rust.order('add', { did: third.did }), 2)
  await third.join(convoId)
  await node.read()
  assert.equal((await node.add(fourth.did)).newEpoch, 3)
  await fourth.order('join', { convoId })
  await third.read()
  await rust.order('read')
  for (const one of [node, third]) for (const other of [rust, fourth]) await agree(other, one)

  assert.equal((await node.remove(third.did)).newEpoch, 4)
  assert.deepEqual(await rust.order('read'), [])
  assert.deepEqual(await fourth.order('read'), [])
  await agree(rust, node)
  await converse(rust, node)
  assert.equal((await fourth.order('read')).length, 4)
  await agree(fourth, node)
})

test('OpenMLS takes back a ts-mls member that lost its group', options, async (context) => {
  const { rust, node } = await both(context)
  const convoId = await rust.order('found', { dids: [node.did] })
  await node.join(convoId)
  await node.leaveGroupInfo()
  await node.comeBack(convoId)
  assert.deepEqual(await rust.order('read'), [])
  await agree(rust, node)
  await converse(rust, node)
})
