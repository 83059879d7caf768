// A stand-in for edge, api and storage: pages as the example `pages` wrote them, the web build, and enough of `/v1` to upload, master and
// sign in. It is for looking at the pages and for states a real stack does not stay in (away, slow, refusing); the tests themselves run
// on the real stack.  node mock.mjs PAGES [PORT]
import { createServer } from "node:http";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const [pages, port = "3900"] = process.argv.slice(2);
const dist = join(here, "../../edge/web/dist");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".opus": "audio/ogg", ".dat": "application/octet-stream", ".txt": "text/plain" };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const PART = 1 << 20;
const state = { uploads: new Map(), masters: new Map(), away: false, slow: 0, signedIn: false, refuse: 0, log: [], next: 1, watchers: new Set(), version: 1 };
const NAMES = { "": "home", library: "library", account: "account", "sign-in": "sign-in", privacy: "privacy", "privacy-earlier": "privacy-earlier", "policy-changed": "policy-changed", security: "security", confirm: "confirm", "confirm-guest": "confirm-guest", "confirm-elsewhere": "confirm-elsewhere", "confirm-done": "confirm-done", "confirm-expired": "confirm-expired", terms: "terms", contact: "contact", status: "status", api: "api" };

const body = (request) => new Promise((resolve) => {
  const parts = [];
  request.on("data", (part) => parts.push(part)).on("end", () => resolve(Buffer.concat(parts)));
});
const json = (response, status, value, headers = {}) => response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json", ...headers }).end(JSON.stringify(value));
const problem = (response, status, code, detail) => json(response, status, { type: `urn:loopmastering:problem:${code}`, title: code, status, detail, code });
const shown = (u) => ({ id: u.id, name: u.name, bytes: u.bytes, type: u.type, fingerprint: u.fingerprint, state: u.state, part_bytes: PART, parts: Math.max(1, Math.ceil(u.bytes / PART)), ...(u.master ? { master: u.master } : {}) });
const summary = (m) => ({ id: m.id, title: m.title, state: m.state, stage: m.stage, batch: m.batch, version: m.version });
const tell = (master) => {
  master.version = ++state.version;
  for (const watcher of state.watchers) watcher.write(`id: ${state.version}\nevent: master\ndata: ${JSON.stringify(summary(master))}\n\n`);
};
function make(upload, settings) {
  const master = { id: `mst_${state.next++}`, title: upload.name.replace(/\.\w+$/, ""), upload: { id: upload.id, name: upload.name, bytes: upload.bytes }, settings, batch: upload.batch, state: "waiting", version: 1, created_at: new Date().toISOString() };
  state.masters.set(master.id, master);
  upload.master = master.id;
  const stages = ["decode", "analyse", "plan", "render", "encode", "deliver"];
  const step = (n) => setTimeout(() => {
    if (master.state === "cancelled") return;
    Object.assign(master, n < stages.length ? { state: "running", stage: stages[n] } : { state: "done", stage: undefined });
    tell(master);
    if (n < stages.length) step(n + 1);
  }, 250);
  step(0);
  return master;
}

async function api(request, response, path, url) {
  const text = await body(request);
  const sent = text.length > 0 && !path.startsWith("/storage") && request.headers["content-type"]?.includes("json") ? JSON.parse(text) : {};
  const [, what, id, more] = path.split("/");
  state.log.push(`${request.method} ${path}`);
  if (what === "uploads") {
    if (request.method === "POST" && !id) {
      const upload = { id: `upl_${state.next++}`, state: "uploading", parts: new Map(), ...sent };
      state.uploads.set(upload.id, upload);
      return json(response, 201, shown(upload));
    }
    const upload = state.uploads.get(id);
    if (!upload) return problem(response, 404, "upload.not_found", "There is no such upload.");
    if (request.method === "DELETE") return state.uploads.delete(id), response.writeHead(204).end();
    if (more === "parts" && request.method === "POST") return json(response, 200, { urls: Object.fromEntries(sent.numbers.map((n) => [n, `/storage/${id}/${n}?t=${state.next++}`])), expires_at: new Date(Date.now() + 9e5).toISOString() });
    if (more === "parts") return json(response, 200, { parts: [...upload.parts].map(([number, bytes]) => ({ number, etag: `"${number}"`, bytes })) });
    if (more === "complete") {
      upload.state = "stored";
      if (upload.settings && !upload.master) make(upload, upload.settings);
    }
    return json(response, 200, shown(upload));
  }
  if (what === "masters" && request.method === "POST" && !id) return json(response, 201, { items: sent.uploads.map((u) => make(state.uploads.get(u), sent.settings)), ...(sent.batch ? { batch: "bat_1" } : {}) });
  if (what === "masters" && more === "rerun") return json(response, 201, make(state.uploads.values().next().value ?? { id: "upl_0", name: "night-drive.wav", bytes: 1 }, sent.settings));
  if (what === "masters" && (id === "delete" || id === "restore")) return json(response, 200, { deleted: sent.ids.length, undo_until: new Date(Date.now() + 3e4).toISOString() });
  if (what === "masters" && more === "shares") return json(response, 201, { id: "shr_1", url: "/s/lmh_1" });
  if (what === "masters" && state.masters.has(id)) return json(response, 200, state.masters.get(id));
  if (what === "batches") return json(response, 201, { id: "bat_1", name: sent.name, album: sent.album, tracks: sent.tracks, items: [] });
  if (what === "artifacts") return state.signedIn ? json(response, 200, { url: "/files/mix.opus", expires_at: "" }) : problem(response, 401, "auth.sign_in_required", "Sign in to download masters.");
  if (what === "auth" && id === "email" && request.method === "POST" && more !== "code") return json(response, 202, { login: "login1", expires_at: "" });
  if (what === "auth" && more === "code") return sent.code === "123456" ? ((state.signedIn = true), json(response, 200, { user: {}, guest_masters: 2 })) : problem(response, 422, "auth.wrong_code", "That is not the code. You have 4 tries left.");
  if (what === "auth" && id === "email") return json(response, 200, { state: "waiting" });
  if (what === "auth" && id === "merge") return json(response, 200, { moved: 2, masters: 2 });
  if (what === "contact") return json(response, 202, { ticket: "tkt_1" });
  if (what === "status") return json(response, 200, { ok: true });
  if (what === "zips") return json(response, 201, { url: "/files/mix.opus" });
  if (what === "events") {
    if (request.headers.accept?.includes("application/json")) return json(response, 200, { version: state.version, items: [...state.masters.values()].map(summary) });
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(`event: snapshot\ndata: ${JSON.stringify({ version: state.version, items: [...state.masters.values()].map(summary) })}\n\n`);
    state.watchers.add(response);
    const ping = setInterval(() => response.write(": \n\n"), 10_000);
    request.on("close", () => (clearInterval(ping), state.watchers.delete(response)));
    return undefined;
  }
  return json(response, 200, {});
}

/** Pages that were written before the last web build name files by older hashes. */
function current(path) {
  const wanted = /^(.*\/)([\w-]+)-[\w-]{8}(\.\w+)$/.exec(path);
  if (existsSync(path) || !wanted || !existsSync(wanted[1])) return path;
  const found = readdirSync(wanted[1]).find((name) => name.startsWith(`${wanted[2]}-`) && name.endsWith(wanted[3]));
  return found ? wanted[1] + found : path;
}

function file(request, response, asked) {
  const path = current(asked);
  if (!existsSync(path)) return response.writeHead(404).end();
  const bytes = readFileSync(path);
  const headers = { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "accept-ranges": "bytes", "cache-control": "no-store" };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (!range) return response.writeHead(200, { ...headers, "content-length": bytes.length }).end(bytes);
  const [from, to] = [Number(range[1]), Math.min(bytes.length - 1, range[2] === "" ? Infinity : Number(range[2]))];
  if (from >= bytes.length) return response.writeHead(416).end();
  return response.writeHead(206, { ...headers, "content-length": to - from + 1, "content-range": `bytes ${from}-${to}/${bytes.length}` }).end(bytes.subarray(from, to + 1));
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  const path = url.pathname;
  if (path === "/mock") {
    for (const [name, value] of url.searchParams) state[name] = JSON.parse(value);
    const log = state.log.splice(0);
    return json(response, 200, { log, uploads: [...state.uploads.values()].map((u) => ({ ...shown(u), have: u.parts.size })), masters: state.masters.size });
  }
  if (path.startsWith("/storage/")) {
    const [, , id, number] = path.split("/");
    const bytes = await body(request);
    if (state.slow) await new Promise((resolve) => setTimeout(resolve, state.slow));
    if (state.away) return response.writeHead(503).end();
    if (state.refuse > 0) return (state.refuse -= 1), response.writeHead(403).end();
    state.uploads.get(id)?.parts.set(Number(number), bytes.length);
    return response.writeHead(200, { etag: `"${number}"` }).end();
  }
  if (path.startsWith("/v1/")) return state.away ? problem(response, 503, "service.away", "The service is away.") : api(request, response, path.slice(3), url);
  if (path.startsWith("/assets/") || path.startsWith("/demo/") || path === "/favicon.svg") return file(request, response, join(dist, path));
  if (path.startsWith("/files/")) return file(request, response, join(pages, path));
  const [, first, id] = path.split("/");
  const master = state.masters.get(id);
  let name = first === "m" ? `master-${master ? (master.state === "waiting" ? "waiting" : master.state === "running" ? "running" : master.state) : (url.searchParams.get("as") ?? "done")}` : { b: "batch", s: "share", l: "link" }[first] ?? NAMES[first] ?? first;
  if (state.signedIn && name === "master-done") name = "master-signed-in";
  const found = existsSync(join(pages, `${name}.html`));
  let text = readFileSync(join(pages, `${found ? name : "not-found"}.html`), "utf8");
  text = text.replaceAll('data-seconds="243.000"', 'data-seconds="42.000"').replaceAll('data-start="132.500"', 'data-start="9.800"').replaceAll("of 4:03", "of 0:42");
  if (master) text = text.replaceAll('data-id="mst_1"', `data-id="${master.id}"`);
  response.writeHead(found ? 200 : 404, { "content-type": TYPES[".html"], "content-security-policy": CSP }).end(text);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
