// Every test, in one process, for they share a directory and a relay.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { neverCalled } from './lib/client.js'

await import('./identity.test.js')
await import('./calls.test.js')
await import('./stream.test.js')
await import('./receipts.test.js')
await import('./mls.test.js')
await import('./browser.test.js')

test('every call that has a lexicon was made', () => {
  assert.deepEqual(neverCalled(), [])
})
