// Every call, as ATProto's own XrpcClient makes it with our lexicons: our inputs are
// validated against them here, the relay's answers by the client.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { P256 } from './lib/account.js'
import { refusal } from './lib/client.js'
import { block, unblock } from './lib/directory.js'
import { SUITE } from './lib/mls.js'
import { Phone, pair } from './lib/phone.js'
import { lexicons } from './lib/world.js'

test('a device registers, and its key packages are counted', async () => {
  const phone = await Phone.create(P256)
  const registered = await phone.register(2)
  assert.equal(registered.deviceId, phone.device.id)
  assert.equal(registered.mlsDid, phone.device.identity)

  const wrapped = phone.keyPackageInput(await phone.device.keyPackage())
  await phone.client.procedure('publishKeyPackage', wrapped)
  const bare = phone.keyPackageInput(await phone.device.bareKeyPackage())
  const published = await phone.client.procedure('publishKeyPackages', { keyPackages: [bare] })
  assert.equal(published.succeeded, 1)

  const stats = await phone.client.query('getKeyPackageStats', { cipherSuite: SUITE })
  assert.equal(stats.available, 4)
  const { devices } = await phone.client.query('listDevices')
  assert.deepEqual(devices.map((device) => device.deviceId), [phone.device.id])
})

test('two accounts converse', async () => {
  const { alice, bob, convo } = await pair()
  const members = convo.members.map((member) => member.userDid)
  assert.deepEqual(new Set(members), new Set([alice.did, bob.did]))

  const sent = await alice.send('hello')
  assert.equal(sent.epoch, 1)
  assert.deepEqual(await bob.read(), ['hello'])
  await bob.send('hi')
  assert.deepEqual(await alice.read(), ['hi'])

  const { conversations } = await bob.client.query('getConvos', { limit: 10 })
  assert.deepEqual(conversations.map(({ id }) => id), [convo.id])
})

test('a third joins and goes, and everyone agrees on the epoch', async () => {
  const { alice, bob, convo } = await pair()
  const convoId = convo.id
  const carol = await Phone.create(P256)
  await carol.register()

  assert.equal((await alice.add(carol.did)).newEpoch, 2)
  await carol.join(convoId)
  await bob.read()
  assert.equal(carol.group.authenticator, alice.group.authenticator)
  assert.equal(bob.group.authenticator, alice.group.authenticator)

  assert.equal((await alice.remove(carol.did)).newEpoch, 3)
  await bob.read()
  assert.equal(bob.group.authenticator, alice.group.authenticator)
  const { currentEpoch } = await alice.client.query('getEpoch', { convoId })
  assert.equal(currentEpoch, 3)
  const { commits } = await bob.client.query('getCommits', { convoId, fromEpoch: 2 })
  assert.deepEqual(commits.map(({ epoch }) => epoch), [2, 3])
  await assert.rejects(carol.send('still here?'), refusal('ConvoNotFound'))
})

test('a member leaves', async () => {
  const { alice, bob, convo } = await pair()
  const left = await bob.client.procedure('leaveConvo', { convoId: convo.id })
  assert.equal(left.success, true)
  await assert.rejects(bob.read(), refusal('ConvoNotFound'))
  const { conversations } = await alice.client.query('getConvos')
  assert.deepEqual(conversations[0].members.map((member) => member.userDid), [alice.did])
})

test('errors have the names that the lexicons give them', async () => {
  const { alice, bob, convo } = await pair()
  const stranger = await Phone.create(P256)
  const convoId = convo.id

  const named = async (call, error, promise) => {
    const names = lexicons.getDefOrThrow(`blue.catbird.mls.${call}`).errors.map(({ name }) => name)
    assert.ok(names.includes(error), `${call} does not say ${error}`)
    await assert.rejects(promise, refusal(error))
  }
  const late = await bob.seal('late')
  const carol = await Phone.create(P256)
  await carol.register()
  await alice.add(carol.did)
  await named('sendMessage', 'EpochMismatch', bob.client.procedure('sendMessage', late))
  const first = await alice.seal('first')
  await alice.client.procedure('sendMessage', first)
  const { ciphertext } = await alice.seal('other')
  const other = { ...first, ciphertext }
  await named('sendMessage', 'Conflict', alice.client.procedure('sendMessage', other))
  await named('getMessages', 'ConvoNotFound', stranger.client.query('getMessages', { convoId }))
  await named('getWelcome', 'WelcomeNotFound', alice.client.query('getWelcome', { convoId }))
  const removal = { convoId, targetDid: alice.did }
  await named('removeMember', 'NotAdmin', bob.client.procedure('removeMember', removal))
})

test('the same message twice is one message', async () => {
  const { alice, bob } = await pair()
  const message = await alice.seal('once')
  const first = await alice.client.procedure('sendMessage', message)
  assert.deepEqual(await alice.client.procedure('sendMessage', message), first)
  assert.deepEqual(await bob.read(), ['once'])
})

test('what breaks a lexicon is refused by name', async () => {
  const { alice, convo } = await pair()
  for (const [field, bend] of [
    ['unexpected', { unexpected: true }],
    ['epoch', { epoch: 'one' }],
    ['paddedSize', { paddedSize: 100 }],
    ['msgId', { msgId: 'short' }],
  ]) {
    const input = { ...(await alice.seal('x')), convoId: convo.id, ...bend }
    await assert.rejects(alice.client.malformed('sendMessage', input), (thrown) => {
      assert.equal(thrown.error, 'InvalidRequest')
      assert.match(thrown.message, new RegExp(field))
      return true
    })
  }
})

test('admins come and go, and the last one stays', async () => {
  const { alice, bob, convo } = await pair()
  const bobsRole = { convoId: convo.id, targetDid: bob.did }
  await alice.client.procedure('promoteAdmin', bobsRole)
  await assert.rejects(alice.client.procedure('promoteAdmin', bobsRole), refusal('AlreadyAdmin'))
  await alice.client.procedure('demoteAdmin', bobsRole)
  const alicesRole = { convoId: convo.id, targetDid: alice.did }
  await assert.rejects(alice.client.procedure('demoteAdmin', alicesRole), refusal('LastAdmin'))
})

test('a report reaches the admins, sealed', async () => {
  const { alice, bob, convo } = await pair()
  const encryptedContent = crypto.getRandomValues(new Uint8Array(100))
  const { reportId } = await bob.client.procedure('reportMember', {
    convoId: convo.id,
    reportedDid: alice.did,
    category: 'spam',
    encryptedContent,
  })
  const { reports } = await alice.client.query('getReports', { convoId: convo.id })
  assert.equal(reports.length, 1)
  assert.equal(reports[0].id, reportId)
  assert.deepEqual(reports[0].encryptedContent, encryptedContent)
  await alice.client.procedure('resolveReport', { reportId, action: 'dismissed' })
  const { stats } = await alice.client.query('getAdminStats', { convoId: convo.id })
  assert.equal(stats.totalReports, 1)
  const asked = bob.client.query('getReports', { convoId: convo.id })
  await assert.rejects(asked, refusal('NotAdmin'))
})

test('an account says whether it wants to be found', async () => {
  const { client, did } = await Phone.create()
  const status = async () => (await client.query('getOptInStatus', { dids: [did] })).statuses[0]
  await client.procedure('optIn')
  assert.equal((await status()).optedIn, true)
  await client.procedure('optOut')
  assert.equal((await status()).optedIn, false)
})

test('a GroupInfo is kept for those who come by themselves', async () => {
  const { alice, bob, convo } = await pair()
  const groupInfo = await alice.group.groupInfo()
  const input = { convoId: convo.id, groupInfo, epoch: alice.group.epoch }
  const { updated } = await alice.client.procedure('updateGroupInfo', input)
  assert.equal(updated, true)
  const kept = await bob.client.query('getGroupInfo', { convoId: convo.id })
  assert.deepEqual(kept, { groupInfo, epoch: 1 })
})

test('a device checks its key packages, and goes', async () => {
  const phone = await Phone.create()
  await phone.register(3)
  const deviceId = phone.device.id
  const synced = await phone.client.procedure('syncKeyPackages', { deviceId, localHashes: [] })
  assert.equal(synced.orphanedCount, 3)
  const gone = await phone.client.procedure('deleteDevice', { deviceId })
  assert.equal(gone.deleted, true)
  assert.deepEqual((await phone.client.query('listDevices')).devices, [])
})

test('a device that lost its group comes back by itself', async () => {
  const { alice, bob, convo } = await pair()
  await alice.leaveGroupInfo()
  const back = await bob.comeBack(convo.id)
  assert.equal(back.epoch, 2)
  assert.equal(back.receipt.epoch, 2)
  await alice.read()
  assert.equal(alice.group.authenticator, bob.group.authenticator)
  assert.equal(alice.group.members.length, 2)
  await bob.send('here again')
  assert.deepEqual(await alice.read(), ['here again'])
  const outsider = await Phone.create(P256)
  const input = { convoId: convo.id, externalCommit: 'AAAA' }
  const asked = outsider.client.procedure('processExternalCommit', input)
  await assert.rejects(asked, refusal('ConvoNotFound'))
})

test('a device asks to be added anew', async () => {
  const { bob, convo } = await pair()
  const { keyPackage } = bob.keyPackageInput(await bob.device.bareKeyPackage())
  const input = { convoId: convo.id, keyPackage, reason: 'state_loss' }
  assert.equal((await bob.client.procedure('requestRejoin', input)).pending, true)
})

test('blocks are those of the AppView', async () => {
  const { alice, bob, convo } = await pair()
  const dids = [alice.did, bob.did]
  assert.deepEqual((await alice.client.query('checkBlocks', { dids })).blocks, [])

  block(bob.did, alice.did)
  const change = { blockerDid: bob.did, blockedDid: alice.did, action: 'created' }
  const { affectedConvos } = await bob.client.procedure('handleBlockChange', change)
  assert.deepEqual(affectedConvos.map(({ convoId }) => convoId), [convo.id])
  const status = await alice.client.query('getBlockStatus', { convoId: convo.id })
  assert.deepEqual(status.blocks.map(({ blockerDid }) => blockerDid), [bob.did])
  await bob.register(1)
  await assert.rejects(alice.found([bob.did]), refusal('MutualBlockDetected'))

  unblock(bob.did, alice.did)
  await bob.client.procedure('handleBlockChange', { ...change, action: 'removed' })
  assert.deepEqual((await alice.client.query('checkBlocks', { dids })).blocks, [])
})
