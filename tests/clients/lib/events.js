// Server-sent events, with nothing but fetch: for clients without WebSockets.

import { wasCalled } from './client.js'
import { lexicons, nsid, RELAY } from './world.js'

const EVENTS = nsid('subscribeConvoEvents')

/** What an event says, field by field; comments have none. */
const fields = (event) =>
  Object.fromEntries(
    event.split('\n').map((line) => {
      const colon = line.indexOf(': ')
      return [line.slice(0, colon), line.slice(colon + 2)]
    }),
  )

/** Reads a stream. Each event is validated against the lexicon, and has its `id`. */
export async function* events(client, params = {}, lastEventId) {
  const authorization = `Bearer ${await client.account.token('streamConvoEvents')}`
  const headers = { authorization, ...(lastEventId && { 'last-event-id': lastEventId }) }
  const hangUp = new AbortController()
  const url = `https://${RELAY}/xrpc/${nsid('streamConvoEvents')}?${new URLSearchParams(params)}`
  const response = await fetch(url, { headers, signal: hangUp.signal })
  if (!response.ok) throw Object.assign(new Error('no stream'), await response.json())
  wasCalled('streamConvoEvents')
  let rest = ''
  try {
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split('\n\n')
      rest = parts.pop()
      for (const { id, data } of parts.map(fields)) {
        if (!data) continue
        const { op, t, body } = JSON.parse(data)
        const event = { $type: `${EVENTS}${t}`, ...body }
        if (op === 1) lexicons.assertValidXrpcMessage(EVENTS, event)
        yield { id, ...event }
      }
    }
  } finally {
    hangUp.abort()
  }
}
