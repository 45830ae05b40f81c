// `ws` on Node, as a broadcaster of the fan-out bench: TLS WebSocket for subscribers,
// whose path is their group, and a plain TCP port for the one who publishes, who says
// group and length in two 32-bit numbers before each event.
// Usage: node ws.js CERTIFICATE KEY PUBLIC_PORT PUBLISH_PORT
'use strict';
const fs = require('node:fs');
const https = require('node:https');
const net = require('node:net');
const { WebSocketServer } = require('ws');

const [certificate, key, publicPort, publishPort] = process.argv.slice(2);
const groups = new Map();

const server = https.createServer({
  cert: fs.readFileSync(certificate),
  key: fs.readFileSync(key),
  minVersion: 'TLSv1.3',
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket, request) => {
  const group = request.url.slice(1);
  if (!groups.has(group)) groups.set(group, new Set());
  groups.get(group).add(socket);
  socket.on('close', () => groups.get(group).delete(socket));
  socket.on('error', () => socket.terminate());
});
server.listen(Number(publicPort), '127.0.0.1');

net
  .createServer((publisher) => {
    let rest = Buffer.alloc(0);
    publisher.on('data', (data) => {
      rest = rest.length ? Buffer.concat([rest, data]) : data;
      while (rest.length >= 8) {
        const end = 8 + rest.readUInt32BE(4);
        if (rest.length < end) return;
        const event = rest.subarray(8, end);
        for (const socket of groups.get(String(rest.readUInt32BE(0))) ?? []) {
          socket.send(event);
        }
        rest = rest.subarray(end);
      }
    });
    publisher.on('error', () => publisher.destroy());
  })
  .listen(Number(publishPort), '127.0.0.1');
