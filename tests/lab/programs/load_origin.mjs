// An HTTPS origin for load: HTTP/2 and HTTP/1.1 on one port, and a WebSocket echo.  argv[2]: PEM file with key and chain.
// Prints its port.  Ends with its standard input.  It never closes a connection by itself.
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { createSecureServer } from 'node:http2';

const pem = readFileSync(process.argv[2]);
const server = createSecureServer({ key: pem, cert: pem, allowHTTP1: true });
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.timeout = 0;
server.on('request', (request, response) => {
  const body = `you asked for ${request.url}\n`;
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let waiting = Buffer.alloc(0);
  socket.on('data', (data) => {
    waiting = Buffer.concat([waiting, data]);
    while (waiting.length >= 6 && waiting.length >= 6 + (waiting[1] & 0x7f)) {
      const size = waiting[1] & 0x7f; // our client sends short, masked frames
      const payload = Buffer.from(waiting.subarray(6, 6 + size));
      for (let i = 0; i < size; i++) payload[i] ^= waiting[2 + (i & 3)];
      waiting = waiting.subarray(6 + size);
      socket.write(Buffer.concat([Buffer.from([0x81, size]), payload]));
    }
  });
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());
});
server.on('sessionError', () => {});
server.on('clientError', (_, socket) => socket.destroy());
server.on('tlsClientError', () => {});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
