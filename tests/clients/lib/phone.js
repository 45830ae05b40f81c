// A phone: a device with its calls and its conversation, which it reads strictly
// in the relay's order, its own commits included.

import { createHash } from 'node:crypto'
import { ulid } from 'ulid'
import { Account, P256, SECP256K1 } from './account.js'
import { Client } from './client.js'
import { Device, SUITE } from './mls.js'

const base64url = (bytes) => Buffer.from(bytes).toString('base64url')
const fromBase64url = (text) => new Uint8Array(Buffer.from(text, 'base64url'))
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

export class Phone {
  #readThrough = 0
  #sent = new Set()

  /** A phone with a new account whose device is registered. */
  static async create(curve) {
    const phone = new Phone()
    phone.account = await Account.create(curve)
    phone.client = new Client(phone.account)
    phone.device = await Device.create(phone.did)
    return phone
  }

  get did() {
    return this.account.did
  }

  /** Tells the relay of this device, with key packages for so many joins. */
  async register(count = 1) {
    const keyPackages = []
    for (let made = 0; made < count; made++) {
      keyPackages.push(await this.keyPackageInput(await this.device.bareKeyPackage()))
    }
    return this.client.procedure('registerDevice', {
      deviceName: 'ts-mls',
      deviceUUID: this.device.id,
      signaturePublicKey: this.device.signer.publicKey,
      keyPackages,
    })
  }

  keyPackageInput(keyPackage) {
    const expires = new Date(Date.now() + 29 * 24 * 3600 * 1000).toISOString()
    return { keyPackage: base64url(keyPackage), cipherSuite: SUITE, expires, deviceId: this.device.id }
  }

  /** Founds a conversation with every device of these accounts. */
  async found(dids, metadata) {
    this.group = await this.device.found()
    const { packages, hashes } = await this.#claim(dids)
    const { welcome } = await this.group.add(packages)
    const answer = await this.client.procedure('createConvo', {
      groupId: this.group.id,
      deviceId: this.device.id,
      cipherSuite: SUITE,
      initialMembers: dids,
      welcomeMessage: base64url(welcome),
      keyPackageHashes: hashes,
      currentEpoch: 1,
      idempotencyKey: crypto.randomUUID(),
      metadata,
    })
    this.group.merge()
    return answer
  }

  /** Joins by the Welcome that waits for this device. */
  async join(convoId) {
    const deviceId = this.device.id
    const { welcome } = await this.client.query('getWelcome', { convoId, deviceId })
    const group = await this.device.join(fromBase64url(welcome))
    if (group.id !== convoId) throw new Error('the Welcome is to another group')
    this.group = group
    await this.client.procedure('confirmWelcome', { convoId, deviceId, success: true })
  }

  /** Leaves what a device needs that comes back by itself. */
  async leaveGroupInfo() {
    const input = { convoId: this.group.id, groupInfo: await this.group.groupInfo() }
    await this.client.procedure('updateGroupInfo', { ...input, epoch: this.group.epoch })
  }

  /** Has lost its group, and comes back by itself. */
  async comeBack(convoId) {
    const { groupInfo } = await this.client.query('getGroupInfo', { convoId })
    const { commit, group } = await this.device.comeBack(fromBase64url(groupInfo))
    const input = { convoId, externalCommit: base64url(commit) }
    const answer = await this.client.procedure('processExternalCommit', input)
    this.group = group
    return answer
  }

  /** Adds every device of an account. */
  async add(did) {
    const { packages, hashes } = await this.#claim([did])
    const { commit, welcome } = await this.group.add(packages)
    const answer = await this.client.procedure('addMembers', {
      convoId: this.group.id,
      didList: [did],
      commit: base64url(commit),
      welcomeMessage: base64url(welcome),
      keyPackageHashes: hashes,
      idempotencyKey: crypto.randomUUID(),
    })
    await this.read()
    return answer
  }

  /** Removes every device of an account. */
  async remove(targetDid) {
    const { commit } = await this.group.remove(targetDid)
    const input = { convoId: this.group.id, targetDid, commit: base64url(commit) }
    const answer = await this.client.procedure('removeMember', input)
    await this.read()
    return answer
  }

  /** The input of sendMessage for this text. */
  async seal(text, msgId = ulid()) {
    const ciphertext = await this.group.encrypt(msgId, text)
    const { id: convoId, epoch } = this.group
    this.#sent.add(msgId)
    return { convoId, msgId, ciphertext, epoch, paddedSize: ciphertext.length }
  }

  /** Says something that is kept nowhere; what was sent, and the answer. */
  async say(text) {
    const { msgId, ...input } = await this.seal(text)
    return { input, answer: await this.client.procedure('sendEphemeral', input) }
  }

  async send(text) {
    return this.client.procedure('sendMessage', await this.seal(text))
  }

  /** Reads on from where it stopped; gives what others wrote. */
  async read() {
    const read = []
    for (let more = true; more; ) {
      const page = await this.client.query('getMessages', {
        convoId: this.group.id,
        sinceSeq: this.#readThrough,
        limit: 100,
      })
      more = page.cursor !== undefined
      for (const message of page.messages) {
        this.#readThrough = message.seq
        // The keys of our own messages are gone, as they should be.
        if (this.#sent.has(message.id)) continue
        const received = await this.group.receive(message.ciphertext)
        if (!received) continue
        if (received.messageId !== message.id) throw new Error('the relay renamed a message')
        read.push(received.text)
      }
    }
    return read
  }

  async #claim(dids) {
    const answer = await this.client.query('getKeyPackages', { dids, cipherSuite: SUITE })
    const packages = answer.keyPackages.map((item) => fromBase64url(item.keyPackage))
    const hashes = answer.keyPackages.map((item, index) => ({
      did: item.did,
      hash: sha256(packages[index]),
    }))
    return { packages, hashes }
  }
}

/** Alice has founded a conversation with Bob, and he has joined. */
export const pair = async () => {
  const [alice, bob] = [await Phone.create(P256), await Phone.create(SECP256K1)]
  await alice.register()
  await bob.register(2)
  const convo = await alice.found([bob.did])
  await bob.join(convo.id)
  return { alice, bob, convo }
}
