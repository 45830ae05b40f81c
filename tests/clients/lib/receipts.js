// The relay signs for every commit that it accepts, each receipt naming the one
// before: two histories of one conversation would carry its own proof against it.

import { createHash, createPublicKey, verify } from 'node:crypto'
import { multibaseToBytes } from '@atproto/crypto'
import { RELAY, SERVICE_DID } from './world.js'

const CONTEXT = 'mls-relay commit receipt v1\0'
const ED25519_MULTIKEY = Buffer.from([0xed, 0x01])

const sha256 = (bytes) => createHash('sha256').update(bytes).digest()

/** The key in the relay's DID document. */
export const receiptKey = async () => {
  const document = await (await fetch(`https://${RELAY}/.well-known/did.json`)).json()
  const { publicKeyMultibase } = document.verificationMethod.find(
    ({ id }) => id === `${SERVICE_DID}#mls_receipts`,
  )
  const bytes = Buffer.from(multibaseToBytes(publicKeyMultibase))
  if (!bytes.subarray(0, 2).equals(ED25519_MULTIKEY)) throw new Error('this is no Ed25519 key')
  const x = bytes.subarray(2).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

/**
 * Checks a receipt for a commit against the key and the hash of the receipt before.
 * Gives its own hash, which the next one must name.
 */
export const checkReceipt = (key, receipt, commit, previous) => {
  const epoch = Buffer.alloc(8)
  epoch.writeBigUInt64BE(BigInt(receipt.epoch))
  const before = previous ?? Buffer.alloc(32)
  const convo = Buffer.from(`${CONTEXT}${receipt.convoId}\0`)
  const signed = Buffer.concat([convo, epoch, sha256(commit), before])
  const signature = Buffer.from(receipt.signature, 'base64url')
  if (!verify(null, signed, key, signature)) throw new Error('the relay has not signed this')
  return sha256(Buffer.concat([signed, signature]))
}
