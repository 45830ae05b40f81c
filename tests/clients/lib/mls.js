// The MLS side of a device, by ts-mls: its keys, its key packages, and a group as
// it sees it. Nothing here knows the network.

import { randomUUID } from 'node:crypto'
import {
  createApplicationMessage,
  createCommit,
  createGroup,
  createGroupInfoWithExternalPubAndRatchetTree,
  decodeMlsMessage,
  defaultCapabilities,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackage,
  generateKeyPackageWithKey,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  joinGroupExternal,
  processMessage,
} from 'ts-mls'
import { isPadding, pad } from './padding.js'

export const SUITE = 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'

const suite = await getCiphersuiteImpl(getCiphersuiteFromName(SUITE))

const DAY = 24 * 3600
const MLS10_KEY_PACKAGE = Uint8Array.of(0, 1, 0, 5)

const utf8 = (text) => new TextEncoder().encode(text)
const text = (bytes) => new TextDecoder().decode(bytes)
const same = (one, other) => Buffer.compare(one, other) === 0
const encode = (content) => encodeMlsMessage({ version: 'mls10', ...content })

/** Reads an MLSMessage and gives it without the zeros that may follow it. */
const decode = (bytes) => {
  const [message, end] = decodeMlsMessage(bytes, 0) ?? []
  if (!message || !isPadding(bytes.subarray(end))) throw new Error('this is no MLSMessage')
  return message
}

/** A key package comes as it was published: bare, or in an MLSMessage. */
const decodeKeyPackage = (bytes) => {
  const wrapped = same(bytes.subarray(0, 4), MLS10_KEY_PACKAGE)
  return decode(wrapped ? bytes : Buffer.concat([MLS10_KEY_PACKAGE, bytes])).keyPackage
}

/** A device of an account: `did#deviceId` in its credential. */
export class Device {
  #joinable = []

  static async create(did) {
    const device = new Device()
    device.id = randomUUID()
    device.identity = `${did}#${device.id}`
    const { publicPackage, privatePackage } = await generateKeyPackage(...device.#leaf())
    device.signer = {
      signKey: privatePackage.signaturePrivateKey,
      publicKey: publicPackage.leafNode.signaturePublicKey,
    }
    return device
  }

  /** A key package for one join, in an MLSMessage. Its private half stays here. */
  async keyPackage() {
    const pair = await this.#pair()
    this.#joinable.push(pair)
    return encode({ wireformat: 'mls_key_package', keyPackage: pair.publicPackage })
  }

  /** The same without the MLSMessage around it. */
  async bareKeyPackage() {
    return (await this.keyPackage()).subarray(MLS10_KEY_PACKAGE.length)
  }

  /** A group that only this device is in. */
  async found() {
    const { publicPackage, privatePackage } = await this.#pair()
    const id = crypto.getRandomValues(new Uint8Array(16))
    return new Group(await createGroup(id, publicPackage, privatePackage, [], suite))
  }

  /** The group that a Welcome lets this device into. */
  async join(bytes) {
    const { welcome } = decode(bytes)
    for (const { publicPackage, privatePackage } of this.#joinable) {
      const joined = joinGroup(welcome, publicPackage, privatePackage, emptyPskIndex, suite)
      const state = await joined.catch(() => undefined)
      if (state) return new Group(state)
    }
    throw new Error('the Welcome is not for this device')
  }

  /**
   * Comes into a group by itself, by an external commit; the leaf that this device had
   * goes. Merged when the relay accepts the commit.
   */
  async comeBack(groupInfo) {
    const { publicPackage, privatePackage } = await this.#pair()
    const info = decode(groupInfo).groupInfo
    const back = await joinGroupExternal(info, publicPackage, privatePackage, true, suite)
    const commit = encode({ wireformat: 'mls_public_message', publicMessage: back.publicMessage })
    return { commit, group: new Group(back.newState) }
  }

  #pair() {
    const [credential, capabilities, lifetime, extensions, suite] = this.#leaf()
    const rest = [extensions, this.signer, suite]
    return generateKeyPackageWithKey(credential, capabilities, lifetime, ...rest)
  }

  #leaf() {
    const credential = { credentialType: 'basic', identity: utf8(this.identity) }
    // Members refuse a life that is longer than a season, and so does the relay.
    const now = Math.floor(Date.now() / 1000)
    const lifetime = { notBefore: BigInt(now - 3600), notAfter: BigInt(now + 30 * DAY) }
    return [credential, defaultCapabilities(), lifetime, [], suite]
  }
}

/** A group as one device sees it. The relay's order moves it from epoch to epoch. */
export class Group {
  #pending

  constructor(state) {
    this.state = state
  }

  get id() {
    return Buffer.from(this.state.groupContext.groupId).toString('hex')
  }

  get epoch() {
    return Number(this.state.groupContext.epoch)
  }

  /** Two members share this exactly if they are in the same state. */
  get authenticator() {
    return Buffer.from(this.state.keySchedule.epochAuthenticator).toString('hex')
  }

  get members() {
    const leaves = this.state.ratchetTree.filter((node) => node?.nodeType === 'leaf')
    return leaves.map((node) => text(node.leaf.credential.identity))
  }

  /** Encrypts, with the message's id as authenticated data, and pads to a bucket. */
  async encrypt(messageId, plaintext) {
    const aad = utf8(messageId)
    const sealed = await createApplicationMessage(this.state, utf8(plaintext), suite, aad)
    this.state = sealed.newState
    const { privateMessage } = sealed
    return pad(encode({ wireformat: 'mls_private_message', privateMessage }))
  }

  /** Commits to add the owners of key packages; merged when the relay accepts it. */
  async add(keyPackages) {
    const proposals = keyPackages.map((bytes) => ({
      proposalType: 'add',
      add: { keyPackage: decodeKeyPackage(bytes) },
    }))
    return this.#commit(proposals)
  }

  /** Commits to remove every device of an account. */
  async remove(did) {
    const nodes = this.state.ratchetTree.map((node, index) => [node, index / 2])
    const theirs = ([node]) =>
      node?.nodeType === 'leaf' && text(node.leaf.credential.identity).startsWith(`${did}#`)
    const proposals = nodes
      .filter(theirs)
      .map(([, removed]) => ({ proposalType: 'remove', remove: { removed } }))
    return this.#commit(proposals)
  }

  /** What a newcomer needs to join by an external commit. */
  async groupInfo() {
    const groupInfo = await createGroupInfoWithExternalPubAndRatchetTree(this.state, [], suite)
    return Buffer.from(encode({ wireformat: 'mls_group_info', groupInfo })).toString('base64url')
  }

  async #commit(extraProposals) {
    const context = { state: this.state, cipherSuite: suite }
    const made = await createCommit(context, { extraProposals, ratchetTreeExtension: true })
    const commit = encode(made.commit)
    this.#pending = { commit, state: made.newState }
    const { welcome } = made
    return { commit, welcome: welcome && encode({ wireformat: 'mls_welcome', welcome }) }
  }

  /** The relay has accepted our commit. */
  merge() {
    this.state = this.#pending.state
    this.#pending = undefined
  }

  /** Takes the next message of the conversation; gives what was written, if anything. */
  async receive(bytes) {
    if (this.#pending && same(bytes, this.#pending.commit)) return void this.merge()
    const message = decode(bytes)
    const content = message.privateMessage ?? message.publicMessage.content
    if (Number(content.epoch) < this.epoch) return undefined
    const accept = () => 'accept'
    const processed = await processMessage(message, this.state, emptyPskIndex, accept, suite)
    this.state = processed.newState
    if (processed.kind !== 'applicationMessage') {
      // Somebody else's commit won this epoch; ours is for nothing.
      this.#pending = undefined
      return undefined
    }
    return { messageId: text(content.authenticatedData), text: text(processed.message) }
  }
}
