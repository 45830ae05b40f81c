// What an app in a browser does to stay subscribed. Its server (for an app of
// ATProto, the account's PDS) mints a token for one call; with it the page asks the relay,
// which is another origin, for a ticket: it cannot put a token on a WebSocket.

const LONGEST_WAIT = 64_000
// The stream will never have anything for us again: do not come back.
const FINAL = new Set([1000, 1002, 1003, 1007, 1009])

const asked = new URLSearchParams(location.search)
const relay = asked.get('relay')
// A network that has forgotten a connection closes nothing.
const silenceMax = Number(asked.get('silence') ?? 75_000)
const state = document.querySelector('#state')
const left = document.querySelector('#left')
const events = document.querySelector('#events')

let cursor
let failures = 0

const show = ({ t, body }) => {
  const item = document.createElement('li')
  item.textContent = JSON.stringify({ t, ...body })
  events.append(item)
}

const hear = ({ data }) => {
  const frame = JSON.parse(data)
  if (frame.op === 1 && frame.t !== '#pong') show(frame)
  // A cursor comes with events, with #synced and with errors: resume after it.
  if (frame.body.cursor) cursor = frame.body.cursor
  if (frame.t === '#synced') {
    failures = 0
    state.textContent = 'live'
  }
}

const comeBack = () => {
  state.textContent = 'away'
  // Half fixed, half by chance, so that not all come back at once.
  const wait = Math.min(250 * 2 ** failures++, LONGEST_WAIT)
  setTimeout(connect, wait / 2 + (Math.random() * wait) / 2)
}

/** Gives a connection up on which nothing comes. No page sees pings, so it asks for itself. */
const listenTo = (socket) => {
  let heard = Date.now()
  const look = setInterval(() => {
    if (Date.now() - heard > silenceMax) return end()
    if (socket.readyState === WebSocket.OPEN) socket.send('{"$type":"#ping"}')
  }, silenceMax / 3)
  const end = ({ code } = {}) => {
    clearInterval(look)
    socket.onmessage = socket.onclose = null
    socket.close()
    FINAL.has(code) ? (state.textContent = 'ended') : comeBack()
  }
  socket.onmessage = (message) => {
    heard = Date.now()
    hear(message)
  }
  socket.onclose = end
}

const ticketFor = async (token) => {
  const answer = await fetch(`https://${relay}/xrpc/blue.catbird.mls.getSubscriptionTicket`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: '{}',
    // It may go out on the connection that nothing comes back on.
    signal: AbortSignal.timeout(silenceMax),
  })
  left.textContent = answer.headers.get('ratelimit-remaining')
  if (!answer.ok) throw new Error((await answer.json()).error)
  return (await answer.json()).ticket
}

const connect = async () => {
  const token = await fetch('/token').then((answer) => answer.text(), () => undefined)
  const ticket = token && (await ticketFor(token).catch(() => undefined))
  if (!ticket) return comeBack()
  const parameters = new URLSearchParams({ ticket, ...(cursor && { cursor }) })
  const url = `wss://${relay}/xrpc/blue.catbird.mls.subscribeConvoEvents?${parameters}`
  listenTo(new WebSocket(url, 'mls-relay.json.v1'))
}

connect()
