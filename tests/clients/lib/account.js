// An account: a DID, a key of @atproto/crypto, its document in the directory, and
// the service tokens that its PDS would mint with @atproto/xrpc-server.

import { P256Keypair, Secp256k1Keypair, randomStr } from '@atproto/crypto'
import { createServiceJwt } from '@atproto/xrpc-server'
import { publish } from './directory.js'
import { SERVICE_DID, nsid } from './world.js'

export const P256 = P256Keypair
export const SECP256K1 = Secp256k1Keypair

export class Account {
  /** A new account on a curve, which the directory knows. */
  static async create(curve = SECP256K1) {
    const account = new Account()
    account.did = `did:plc:${(await randomStr(15, 'base32')).slice(0, 24)}`
    await account.takeKey(curve)
    account.publish()
    return account
  }

  /** A new key. The directory serves the old one until `publish`. */
  async takeKey(curve) {
    this.keypair = await curve.create()
  }

  publish() {
    const multikey = this.keypair.did().replace(/^did:key:/, '')
    publish({
      '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
      id: this.did,
      alsoKnownAs: [],
      verificationMethod: [
        {
          id: `${this.did}#atproto`,
          type: 'Multikey',
          controller: this.did,
          publicKeyMultibase: multikey,
        },
      ],
      service: [],
    })
  }

  /** A token for one call; `bent` changes what it says. */
  token(call, bent = {}) {
    const keypair = this.keypair
    return createServiceJwt({ iss: this.did, aud: SERVICE_DID, lxm: nsid(call), keypair, ...bent })
  }
}
