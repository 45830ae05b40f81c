// The chain of signed receipts, checked by Node's own cryptography.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Phone, pair } from './lib/phone.js'
import { checkReceipt, receiptKey } from './lib/receipts.js'
import { kind, readUntil, subscribe, ticket } from './lib/stream.js'

test('every commit is signed for, in a chain', { timeout: 30_000 }, async () => {
  const { alice, bob, convo } = await pair()
  const key = await receiptKey()
  const carol = await Phone.create()
  await carol.register()

  // Bob hears the receipts; Alice gets them as answers.
  let changes
  const events = await readUntil(
    subscribe(async () => ({ ticket: await ticket(bob.client) })),
    (events) => {
      changes ??= alice.add(carol.did).then(async (added) => [added, await alice.remove(carol.did)])
      return kind(events.at(-1)) === 'epochAdvanced' && events.at(-1).epoch === 3
    },
  )
  const answered = (await changes).map(({ receipt }) => receipt)
  const heard = events.filter((event) => kind(event) === 'epochAdvanced')
  assert.deepEqual(heard.map(({ receipt }) => receipt), answered)

  const { commits } = await bob.client.query('getCommits', { convoId: convo.id, fromEpoch: 2 })
  let last
  for (const [index, { commitData, epoch }] of commits.entries()) {
    assert.equal(answered[index].epoch, epoch)
    last = checkReceipt(key, answered[index], commitData, last)
  }
  assert.equal(commits.length, 2)
  assert.throws(() => checkReceipt(key, answered[1], commits[0].commitData, last))
})
