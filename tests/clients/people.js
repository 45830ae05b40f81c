// A directory in which every name is an account, for a relay on your own machine:
// GET /did:plc:alice2222222222222222222 is Alice's document, GET /alice/getConvos the
// token for one call of hers. Keys follow from the DIDs, so that a restart changes none;
// and so that anybody can be anybody.
//
//     node people.js [port] [the relay's DID]

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { P256Keypair } from '@atproto/crypto'
import { createServiceJwt } from '@atproto/xrpc-server'

const [port = '2582', relay = 'did:web:localhost'] = process.argv.slice(2)

const keyOf = (did) => P256Keypair.import(createHash('sha256').update(did).digest())

const token = async (name, call) => {
  const iss = `did:plc:${name.padEnd(24, '2')}`
  const lxm = `blue.catbird.mls.${call}`
  return createServiceJwt({ iss, aud: relay, lxm, keypair: await keyOf(iss) })
}

const document = async (did) => {
  const publicKeyMultibase = (await keyOf(did)).did().slice('did:key:'.length)
  const key = { id: `${did}#atproto`, type: 'Multikey', controller: did, publicKeyMultibase }
  return JSON.stringify({ id: did, verificationMethod: [key] })
}

createServer(async ({ url }, response) => {
  const [, first, call] = url.replaceAll('%3A', ':').split('/')
  if (first.startsWith('did:plc:')) return response.end(await document(first))
  if (call) return response.end(await token(first, call))
  response.writeHead(404).end()
}).listen(Number(port), '127.0.0.1')
