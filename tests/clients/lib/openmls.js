// A phone that runs OpenMLS, at the other end of a socket: an order a line, an
// answer a line.

import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { publish } from './directory.js'
import { OPENMLS_PHONE } from './world.js'

export class OpenMlsPhone {
  #socket
  #answers

  static async create() {
    const phone = new OpenMlsPhone()
    const [host, port] = OPENMLS_PHONE.split(':')
    phone.#socket = connect(Number(port), host)
    await once(phone.#socket, 'connect')
    phone.#answers = createInterface({ input: phone.#socket })[Symbol.asyncIterator]()
    const { did, document } = await phone.order('introduce')
    publish(document)
    return Object.assign(phone, { did })
  }

  /** Gives what the phone has to say when it has done as it was told. */
  async order(order, fields = {}) {
    this.#socket.write(`${JSON.stringify({ order, ...fields })}\n`)
    const { value, done } = await this.#answers.next()
    if (done) throw new Error(`the OpenMLS phone hung up at: ${order}`)
    const answer = JSON.parse(value)
    if ('failed' in answer) throw new Error(`the OpenMLS phone at ${order}: ${answer.failed}`)
    return answer.done
  }

  hangUp() {
    this.#socket.end()
  }
}
