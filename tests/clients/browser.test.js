// A page in Chromium, of another origin: it asks for a ticket itself, for want of headers
// on a WebSocket, speaks the JSON subprotocol, and its connection may break.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { chromium } from 'playwright-core'
import { pair } from './lib/phone.js'
import { wire } from './lib/stream.js'
import { CERTIFICATE } from './lib/world.js'

/** Chromium may trust the development certificate, and no other. */
const fingerprint = () => {
  const { publicKey } = new X509Certificate(readFileSync(CERTIFICATE))
  const key = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(key).digest('base64')
}

const browse = () =>
  chromium.launch({
    executablePath: execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
    args: [
      `--ignore-certificate-errors-spki-list=${fingerprint()}`,
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })

/** The app's server: the page, and tokens for its calls. */
const serve = async (account) => {
  const types = { html: 'text/html', js: 'text/javascript' }
  const server = createServer(async ({ url }, response) => {
    const name = { '/': 'index.html', '/page.js': 'page.js' }[url.split('?')[0]]
    if (url === '/token') return response.end(await account.token('getSubscriptionTicket'))
    if (!name) return response.writeHead(404).end()
    response.setHeader('content-type', types[name.split('.')[1]])
    response.end(readFileSync(new URL(`page/${name}`, import.meta.url)))
  })
  await once(server.listen(0, 'localhost'), 'listening')
  return server
}

test('a page shows what happens, whatever happens', { timeout: 90_000 }, async (context) => {
  const { alice, bob, convo } = await pair()
  const server = await serve(bob.account)
  const line = await wire()
  const browser = await browse()
  context.after(async () => {
    await browser.close()
    line.close()
    server.close()
  })
  const page = await browser.newPage()
  // Chromium takes its time to give up a connection that calls went out on.
  page.setDefaultTimeout(60_000)
  const problems = []
  page.on('pageerror', (error) => problems.push(error))

  const query = `relay=${line.address}&silence=10000`
  await page.goto(`http://localhost:${server.address().port}/?${query}`)
  const live = () => page.waitForSelector('#state:text("live")')
  /** What it was told, once so many messages are among it. */
  const shown = async (count) => {
    const messages = page.locator('li').filter({ hasText: '"t":"#messageEvent"' })
    await messages.nth(count - 1).waitFor()
    const items = (await page.locator('li').allTextContents()).map((item) => JSON.parse(item))
    return [items[0], items.filter(({ t }) => t === '#messageEvent')]
  }
  await live()
  const first = await alice.send('to a page')
  const [synced, [event]] = await shown(1)
  assert.equal(synced.t, '#synced')
  assert.deepEqual([event.convoId, event.messageId], [convo.id, first.messageId])

  // What a page of another origin is told of its limits it may read.
  assert.ok(Number(await page.textContent('#left')) > 0)

  line.cut()
  await page.waitForSelector('#state:text("away")')
  const missed = await alice.send('while it is away')
  await live()
  const later = await alice.send('when it is back')
  const [, again] = await shown(3)
  assert.deepEqual(
    again.map(({ messageId }) => messageId),
    [first, missed, later].map(({ messageId }) => messageId),
  )

  line.forget()
  const unheard = await alice.send('to a connection that leads nowhere')
  const [, all] = await shown(4)
  assert.equal(all.at(-1).messageId, unheard.messageId)
  assert.deepEqual(problems, [])
})
