// Calls of one account through XrpcClient of @atproto/xrpc. What we send is
// validated against the lexicon here; what comes back, by XrpcClient itself.

import { XrpcClient } from '@atproto/xrpc'
import { calls, lexicons, nsid, RELAY } from './world.js'

const called = new Set()

/** The calls that have a lexicon and have not been answered yet. */
export const neverCalled = () =>
  calls.filter((id) => lexicons.getDefOrThrow(id).type !== 'subscription' && !called.has(id))

/** A call that was made without this client. */
export const wasCalled = (name) => called.add(nsid(name))

export class Client {
  constructor(account) {
    this.account = account
    this.xrpc = new XrpcClient(`https://${RELAY}`, lexicons)
  }

  /** A GET. Gives the answer's body. */
  async query(name, params = {}) {
    lexicons.assertValidXrpcParams(nsid(name), params)
    return this.#call(name, params, undefined)
  }

  /** A POST. Gives the answer's body. */
  async procedure(name, input = {}) {
    lexicons.assertValidXrpcInput(nsid(name), input)
    return this.#call(name, undefined, input)
  }

  /** A POST that breaks its lexicon, to see the relay refuse it. */
  async malformed(name, input) {
    return this.#call(name, undefined, input)
  }

  async #call(name, params, input) {
    const headers = { authorization: `Bearer ${await this.account.token(name)}` }
    const { data } = await this.xrpc.call(nsid(name), params, input, { headers })
    called.add(nsid(name))
    return data
  }
}

/** For assert.rejects: an XRPC error of this name. */
export const refusal = (error) => (thrown) => {
  if (thrown?.error === error) return true
  throw thrown
}
