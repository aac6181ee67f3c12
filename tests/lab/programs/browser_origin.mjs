// An origin for a browser: HTTP/2 and HTTP/1.1 over TLS, with a page that tries what pages do and says how it went.
// argv: certificate and key in one file, whether WebSockets may come over HTTP/2.  Prints its port, then what the page
// has told, with what was seen from here.
import crypto from "node:crypto";
import fs from "node:fs";
import http2 from "node:http2";

const pem = fs.readFileSync(process.argv[2]);
const extended = process.argv[3] === "true";
const LARGE = 20 << 20;
const told = { requests: {}, sockets: [], methods: {} };
let sawCancel;
const cancelled = new Promise((done) => { sawCancel = done; });

const PAGE = `<!doctype html><title>page</title><body><script>
const within = (seconds, what, promise) => Promise.race([promise,
  new Promise((_, fail) => setTimeout(() => fail(new Error("too late: " + what)), seconds * 1000))]);
const image = (n) => new Promise((done, fail) => {
  const one = new Image(); one.onload = () => done(one.naturalWidth); one.onerror = () => fail(new Error("image " + n));
  one.src = "/image/" + n; });
const events = () => new Promise((done, fail) => {
  const source = new EventSource("/events"), got = [];
  source.onerror = () => fail(new Error("events"));
  source.onmessage = (event) => {
    got.push(event.data);
    if (got.length === 3) { source.close(); done(got); } else fetch("/next", {method: "POST"}); }; });
const socket = () => new Promise((done, fail) => {
  const one = new WebSocket("wss://" + location.host + "/socket"), got = [];
  one.binaryType = "arraybuffer";
  one.onerror = () => fail(new Error("socket"));
  // The largest last: a browser has been seen to keep back what comes behind one that waits for an HTTP/2 window.
  one.onopen = () => { one.send("text"); one.send(new Uint8Array([1, 2, 3])); one.send(""); one.send("x".repeat(70000)); };
  one.onmessage = (event) => {
    got.push(typeof event.data === "string" ? event.data.length : [...new Uint8Array(event.data)]);
    if (got.length === 4) one.close(4001, "enough"); };
  one.onclose = (event) => done({got, code: event.code, clean: event.wasClean}); });
const large = async () => {
  let size = 0; const reader = (await fetch("/large")).body.getReader();
  for (;;) { const {done, value} = await reader.read(); if (done) return size; size += value.length; } };
const cancel = async () => {
  const stop = new AbortController(), reader = (await fetch("/endless", {signal: stop.signal})).body.getReader();
  await reader.read(); stop.abort();
  try { for (;;) await reader.read(); } catch (error) { return error.name; } };
const all = async () => {
  const result = {};
  const step = async (name, promise) => { result[name] = await within(20, name, promise); };
  await step("images", Promise.all([...Array(50).keys()].map(image)));
  await step("fetches", Promise.all([...Array(50).keys()].map(async (n) => (await fetch("/number/" + n)).json())));
  const answer = await fetch("/text");
  result.seen = answer.headers.get("x-seen"); result.text = await answer.text();
  const body = "body ".repeat(60000);
  await step("post", fetch("/echo", {method: "POST", body}).then((r) => r.text()).then((t) => t === body));
  await step("missing", fetch("/missing").then((r) => r.status));
  await step("events", events());
  await step("socket", socket());
  await step("large", large());
  await step("cancel", cancel());
  result.protocols = [...new Set(performance.getEntriesByType("resource").map((one) => one.nextHopProtocol))];
  return result; };
all().catch((error) => ({error: String(error)})).then((result) =>
  fetch("/report", {method: "POST", body: JSON.stringify(result)}));
</script></body>`;
const IMAGE = `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><rect width="7" height="7"/></svg>`;

// One small WebSocket server for both ways that lead to it: whole frames in, the same out.
function frames(kept) {
  const found = [];
  for (;;) {
    if (kept.length < 2) return [found, kept];
    let size = kept[1] & 127, at = 2;
    if (size === 126) { if (kept.length < 4) return [found, kept]; size = kept.readUInt16BE(2); at = 4; }
    if (size === 127) { if (kept.length < 10) return [found, kept]; size = Number(kept.readBigUInt64BE(2)); at = 10; }
    if (kept.length < at + 4 + size) return [found, kept];
    const key = kept.subarray(at, at + 4), payload = Buffer.from(kept.subarray(at + 4, at + 4 + size));
    for (let n = 0; n < size; n++) payload[n] ^= key[n % 4];
    found.push([kept[0], payload]);
    kept = kept.subarray(at + 4 + size);
  }
}

function frame(first, payload) {
  const size = payload.length, head = Buffer.alloc(size < 126 ? 2 : size < 65536 ? 4 : 10);
  head[0] = first;
  if (size < 126) head[1] = size;
  else if (size < 65536) { head[1] = 126; head.writeUInt16BE(size, 2); }
  else { head[1] = 127; head.writeBigUInt64BE(BigInt(size), 2); }
  return Buffer.concat([head, payload]);
}

function echo(stream, over) {
  let kept = Buffer.alloc(0);
  stream.on("error", () => {});
  stream.on("data", (data) => {
    let found;
    [found, kept] = frames(Buffer.concat([kept, data]));
    for (const [first, payload] of found) {
      stream.write(frame(first, payload));
      if ((first & 15) === 8) { told.sockets.push([over, payload.readUInt16BE(0)]); stream.end(); }
    }
  });
}

const bodies = {
  "/": ["text/html", PAGE], "/text": ["text/plain", "some text"],
};
let next = null;

async function answer(request, response) {
  const path = request.url;
  told.requests[request.httpVersion] = (told.requests[request.httpVersion] ?? 0) + 1;
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const say = (status, type, text) => { response.writeHead(status, { "content-type": type }); response.end(text); };
  if (bodies[path]) say(200, ...bodies[path]);
  else if (path.startsWith("/image/")) say(200, "image/svg+xml", IMAGE);
  else if (path.startsWith("/number/")) say(200, "application/json", path.slice(8));
  else if (path === "/echo") say(200, "text/plain", body);
  else if (path === "/large") say(200, "application/octet-stream", Buffer.alloc(LARGE, 97));
  else if (path === "/events") {  // each event is sent when the page has asked for it by another request
    let count = 0;
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    next = () => response.write(`data: ${++count}\n\n`);
    next();
  } else if (path === "/next") { next(); say(200, "text/plain", "ok"); }
  else if (path === "/endless") {
    response.writeHead(200, { "content-type": "application/octet-stream" });
    const more = () => { while (!response.destroyed && response.write(Buffer.alloc(65536))); };
    response.on("drain", more);
    response.on("error", () => {});
    response.on("close", () => sawCancel());
    more();
  } else if (path === "/report") {
    const page = JSON.parse(body.toString());
    if (!page.error) await cancelled;
    say(200, "text/plain", "ok");
    console.log(JSON.stringify({ ...told, page }));
  } else say(404, "text/plain", "nothing here");
}

const server = http2.createSecureServer(
  { cert: pem, key: pem, allowHTTP1: true, settings: { enableConnectProtocol: extended } }, answer);
server.on("connect", (request, response) => {  // RFC 8441
  const ok = request.headers[":protocol"] === "websocket";
  request.stream.respond({ ":status": ok ? 200 : 400 }, { endStream: !ok });
  if (ok) echo(request.stream, "h2");
});
server.on("upgrade", (request, socket) => {
  const accept = crypto.createHash("sha1")
    .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  echo(socket, "http/1.1");
});
server.on("sessionError", () => {});
server.on("clientError", (_, socket) => socket.destroy());
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
