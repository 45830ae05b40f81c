// What the tests are told of the world they run in. `tests/integration/clients.rs` starts the
// relay and says where it is.

import { readFileSync, readdirSync } from 'node:fs'
import { Lexicons } from '@atproto/lexicon'

const required = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: cargo test --test integration sets it`)
  return value
}

/** `host:port` of the relay. Its certificate is trusted through NODE_EXTRA_CA_CERTS. */
export const RELAY = required('RELAY_ADDRESS')

/** The DID that tokens for the relay name. */
export const SERVICE_DID = required('SERVICE_DID')

/** Where the relay looks DIDs up; the tests serve it. */
export const PLC_URL = new URL(required('PLC_URL'))

/** `host:port` where an OpenMLS phone takes orders. */
export const OPENMLS_PHONE = required('OPENMLS_PHONE')

/** The certificate file of the relay. */
export const CERTIFICATE = required('NODE_EXTRA_CA_CERTS')

const LEXICONS = new URL('../../../lexicons/blue/catbird/mls/', import.meta.url)

const documents = readdirSync(LEXICONS)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(new URL(name, LEXICONS), 'utf8')))

/** The relay's lexicons, as ATProto's own library reads them. */
export const lexicons = new Lexicons(documents)

/** The names of all calls and subscriptions that have a lexicon. */
export const calls = documents
  .filter((document) => document.defs.main)
  .map((document) => document.id)

/** The whole name of a call. */
export const nsid = (name) => `blue.catbird.mls.${name}`
