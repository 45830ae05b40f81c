// The relay believes the tokens that ATProto's own packages mint, and no others.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { XrpcClient } from '@atproto/xrpc'
import { Account, P256, SECP256K1 } from './lib/account.js'
import { Client, refusal } from './lib/client.js'
import { lexicons, nsid, RELAY, SERVICE_DID } from './lib/world.js'

/** Asks for the account's conversations with exactly this token. */
const askWith = async (token) => {
  const headers = { authorization: `Bearer ${token}` }
  const xrpc = new XrpcClient(`https://${RELAY}`, lexicons)
  return (await xrpc.call(nsid('getConvos'), {}, undefined, { headers })).data
}

for (const [name, curve] of [['ES256', P256], ['ES256K', SECP256K1]]) {
  test(`an ${name} account is heard`, async () => {
    const account = await Account.create(curve)
    assert.equal(account.keypair.jwtAlg, name)
    assert.deepEqual((await new Client(account).query('getConvos')).conversations, [])
  })
}

test('a token may name the service in the DID too', async () => {
  const account = await Account.create(P256)
  await askWith(await account.token('getConvos', { aud: `${SERVICE_DID}#atproto_mls` }))
})

test('a key that rotates in the directory is the one that counts', async () => {
  const account = await Account.create(P256)
  const client = new Client(account)
  await client.query('getConvos')
  const old = await account.token('getConvos')

  await account.takeKey(SECP256K1)
  account.publish()
  await client.query('getConvos')
  await assert.rejects(askWith(old), refusal('BadJwtSignature'))
})

test('a key that the directory does not know is refused', async () => {
  const account = await Account.create(P256)
  await account.takeKey(P256)
  await assert.rejects(new Client(account).query('getConvos'), refusal('BadJwtSignature'))
})

test('every refusal of a token has its name', async () => {
  const account = await Account.create(SECP256K1)
  const now = Math.floor(Date.now() / 1000)
  const refused = async (name, bent) =>
    assert.rejects(askWith(await account.token('getConvos', bent)), refusal(name))

  await refused('JwtExpired', { iat: now - 120, exp: now - 60 })
  await refused('BadJwtAudience', { aud: 'did:web:elsewhere.example' })
  await refused('BadJwtLexiconMethod', { lxm: nsid('sendMessage') })
  await refused('BadJwtLexiconMethod', { lxm: null })
  await assert.rejects(askWith('not.a.token'), refusal('BadJwt'))
})

test('a token is good for one call', async () => {
  const account = await Account.create(SECP256K1)
  const token = await account.token('getConvos')
  await askWith(token)
  await assert.rejects(askWith(token), refusal('JwtReplayed'))
})
