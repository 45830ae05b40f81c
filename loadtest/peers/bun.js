// Bun, whose WebSockets are uWebSockets, as a broadcaster of the fan-out bench: TLS
// WebSocket for subscribers, whose path is their group, and a plain TCP port for the one
// who publishes, who says group and length in two 32-bit numbers before each event.
// Usage: bun bun.js CERTIFICATE KEY PUBLIC_PORT PUBLISH_PORT
const [certificate, key, publicPort, publishPort] = process.argv.slice(2);

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(publicPort),
  tls: { cert: Bun.file(certificate), key: Bun.file(key) },
  fetch(request, server) {
    const group = new URL(request.url).pathname.slice(1);
    if (server.upgrade(request, { data: { group } })) return undefined;
    return new Response('a WebSocket, please', { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(socket.data.group);
    },
    message() {},
  },
});

Bun.listen({
  hostname: '127.0.0.1',
  port: Number(publishPort),
  socket: {
    open(publisher) {
      publisher.data = { rest: Buffer.alloc(0) };
    },
    data(publisher, data) {
      let { rest } = publisher.data;
      rest = rest.length ? Buffer.concat([rest, data]) : Buffer.from(data);
      while (rest.length >= 8) {
        const end = 8 + rest.readUInt32BE(4);
        if (rest.length < end) break;
        server.publish(String(rest.readUInt32BE(0)), rest.subarray(8, end));
        rest = rest.subarray(end);
      }
      publisher.data.rest = rest;
    },
  },
});
