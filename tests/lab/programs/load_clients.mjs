// Clients that never retry and never forgive.  argv: HOST COUNT PAUSE_MS.
// Of five: HTTP/1.1 on one kept connection, HTTP/1.1 on a new one each time, HTTP/2 on one kept, HTTP/2 on a new one
// each time, a WebSocket that stays.  Prints `ready` once each has had its first answer, after each `report` on standard
// input one JSON line, and ends with the last one when the input ends, after every request under way.
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import http2 from 'node:http2';
import https from 'node:https';

const [host, count, pause] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const told = { requests: 0, connections: 0, issuers: {}, failures: [], kinds: {} };
let ending = false;

function connected(socket) {
  told.connections++;
  const issuer = socket.getPeerCertificate().issuer?.O ?? '?';
  told.issuers[issuer] = (told.issuers[issuer] ?? 0) + 1;
}

function answered(kind, body, path) {
  if (!body.endsWith(`${path}\n`)) throw new Error(`a wrong answer: ${body.slice(0, 80)}`);
  told.requests++;
  told.kinds[kind] = (told.kinds[kind] ?? 0) + 1;
}

function get(agent, path) {
  return new Promise((resolve, reject) => {
    const request = https.get({ host, path, agent }, (response) => {
      let body = '';
      response.on('data', (data) => (body += data)).on('end', () => resolve(body)).on('error', reject);
      response.on('aborted', () => reject(new Error('aborted')));
    });
    request.on('socket', (socket) => {
      if (socket.connecting) socket.once('secureConnect', () => connected(socket));
    });
    request.on('error', reject);
  });
}

function openHttp2() {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://${host}`);
    session.once('connect', () => (connected(session.socket), resolve(session))).once('error', reject);
  });
}

function getHttp2(session, path) {
  return new Promise((resolve, reject) => {
    if (session.closed || session.destroyed) return reject(new Error('the session was closed'));
    const stream = session.request({ ':path': path });
    let body = '';
    stream.on('data', (data) => (body += data)).on('end', () => resolve(body)).on('error', reject);
    stream.on('close', () => stream.rstCode && reject(new Error(`stream reset ${stream.rstCode}`)));
  });
}

function openWebSocket() {
  return new Promise((resolve, reject) => {
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
                      'Sec-WebSocket-Key': randomBytes(16).toString('base64') };
    const request = https.get({ host, path: '/echo', headers, agent: false });
    request.on('upgrade', (_, socket) => (connected(socket), resolve(socket))).on('error', reject);
    request.on('response', (response) => reject(new Error(`no upgrade: ${response.statusCode}`)));
  });
}

function echo(socket, text) {
  return new Promise((resolve, reject) => {
    const done = (settle, value) => {
      socket.off('data', data).off('error', failed).off('close', closed);
      settle(value);
    };
    const data = (frame) => done(resolve, frame.subarray(2).toString());
    const failed = (error) => done(reject, error);
    const closed = () => done(reject, new Error('the WebSocket was closed'));
    socket.on('data', data).on('error', failed).on('close', closed);
    const payload = Buffer.from(text); // masked with zeros: short, so one frame is one TLS record
    socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]));
  });
}

const kinds = [
  async function http1Kept(each) {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    await each((path) => get(agent, path));
    agent.destroy();
  },
  async function http1New(each) {
    await each((path) => get(new https.Agent({ keepAlive: false, maxCachedSessions: 0 }), path));
  },
  async function http2Kept(each) {
    const session = await openHttp2();
    session.on('error', (error) => told.failures.push(`http2Kept session: ${error.message}`));
    session.on('goaway', (code) => ending || told.failures.push(`http2Kept: GOAWAY ${code}`));
    await each((path) => getHttp2(session, path));
    session.close();
  },
  async function http2New(each) {
    await each(async (path) => {
      const session = await openHttp2();
      const body = await getHttp2(session, path);
      await new Promise((resolve) => session.close(resolve));
      return body;
    });
  },
  async function webSocket(each) {
    const socket = await openWebSocket();
    await each((path) => echo(socket, `${path}\n`));
    socket.end();
  },
];

let waiting = count;
async function client(number) {
  const kind = kinds[number % kinds.length];
  let asked = 0;
  try {
    await kind(async (ask) => {
      while (!ending) {
        const path = `/${number}/${asked++}`;
        answered(kind.name, await ask(path), path);
        if (asked === 1 && --waiting === 0) console.log('ready');
        await wait(pause * (0.5 + Math.random()));
      }
    });
  } catch (error) {
    told.failures.push(`${kind.name} ${number}/${asked}: ${error.code ?? ''} ${error.message}`);
    if (asked <= 1 && --waiting === 0) console.log('ready');
    if (!ending) await client(number); // it goes on: a second failure must be seen too
  }
}

createInterface({ input: process.stdin }).on('line', () => console.log(JSON.stringify(told))).on('close', () => (ending = true));
await Promise.all(Array.from({ length: count }, (_, number) => client(number)));
console.log(JSON.stringify(told));
process.exit(0);
