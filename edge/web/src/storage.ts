// Everything the pages keep in a browser, and the only module that may. The privacy page lists these names and how long each is kept
// (core/src/retention); tests compare both.

import { BROWSER_MEMORY_MS, BROWSER_PENDING_MS } from "./periods";

/** Upload records: what is needed to go on after a reload. */
export const UPLOADS_NAME = "lm.uploads";
/** The master or batch made last. */
export const LATEST_NAME = "lm.latest";
/** The download asked for before signing in. */
export const PENDING_NAME = "lm.pending";
/** The database of file handles. */
export const DATABASE_NAME = "lm";

const HANDLES = "handles";
const DAY = 86_400_000;
const MOST_RECORDS = 1000;

/** One upload under way. Parts are not written down here: the service knows which have arrived. */
export interface UploadRecord {
  id: string;
  fingerprint: string;
  name: string;
  bytes: number;
  modified: number;
  /** When it was begun, ms. */
  at: number;
  /** The settings to master it with, once the button was pressed. */
  settings?: unknown;
}

function read(area: "local" | "session", name: string): unknown {
  try {
    const text = (area === "local" ? localStorage : sessionStorage).getItem(name);
    return text === null ? null : JSON.parse(text);
  } catch {
    return null; // blocked, or edited by hand
  }
}

/** False where the browser refuses: full, or switched off. */
function write(area: "local" | "session", name: string, value: unknown): boolean {
  try {
    const storage = area === "local" ? localStorage : sessionStorage;
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

const isText = (value: unknown, most = 500): value is string => typeof value === "string" && value.length > 0 && value.length <= most;
const isCount = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value >= 0;

/** Whether something read from storage is a record; what people or other programs wrote there is not trusted. */
export function isRecord(value: unknown): value is UploadRecord {
  if (typeof value !== "object" || value === null) return false;
  const it = value as Record<string, unknown>;
  return isText(it.id, 100) && /^upl_\w+$/.test(it.id) && isText(it.fingerprint, 200) && isText(it.name) && isCount(it.bytes) && isCount(it.modified) && isCount(it.at);
}

export function uploadRecords(now = Date.now()): UploadRecord[] {
  const all = read("local", UPLOADS_NAME);
  const list = Array.isArray(all) ? all.filter(isRecord) : [];
  return list.filter((record) => now - record.at < BROWSER_MEMORY_MS && record.at < now + DAY).slice(-MOST_RECORDS);
}

/** Changes the records as they are now, other tabs' writes included. */
function change(edit: (records: Map<string, UploadRecord>) => void): boolean {
  const records = new Map(uploadRecords().map((record) => [record.id, record]));
  edit(records);
  return write("local", UPLOADS_NAME, records.size > 0 ? [...records.values()] : null);
}

export const keepUploads = (kept: UploadRecord[]): boolean =>
  change((records) => {
    for (const record of kept) records.set(record.id, record);
  });
export const keepUpload = (record: UploadRecord): boolean => keepUploads([record]);
export const dropUpload = (id: string): boolean => change((records) => records.delete(id));

/** The page of the master or batch made last: `/m/…` or `/b/…`. */
export function latest(now = Date.now()): { path: string; title: string } | null {
  const it = read("local", LATEST_NAME) as { path?: unknown; title?: unknown; at?: unknown } | null;
  if (it === null || typeof it !== "object") return null;
  const { path, title, at } = it;
  if (!isText(path, 100) || !/^\/[mb]\/(mst|bat)_\w+$/.test(path) || !isCount(at) || now - at > BROWSER_MEMORY_MS) return null;
  return { path, title: isText(title) ? title : "" };
}

export const keepLatest = (path: string, title: string): boolean => write("local", LATEST_NAME, { path, title, at: Date.now() });
export const dropLatest = (): boolean => write("local", LATEST_NAME, null);

/** The download that waits for a sign-in. Read and gone. */
export type Pending = { artifact: string; name: string } | { zip: Zip };

/** What goes into one archive. */
export type Zip = { batch: string } | { masters: string[] };

export const keepPending = (pending: Pending): boolean => write("session", PENDING_NAME, { ...pending, at: Date.now() });

function zipOf(it: unknown): Zip | null {
  const { batch, masters } = (it ?? {}) as { batch?: unknown; masters?: unknown };
  if (isText(batch, 100) && /^bat_\w+$/.test(batch)) return { batch };
  if (Array.isArray(masters) && masters.length > 0 && masters.length <= 1000 && masters.every((id) => isText(id, 100) && /^mst_\w+$/.test(id))) return { masters: masters as string[] };
  return null;
}

export function takePending(now = Date.now()): Pending | null {
  const it = read("session", PENDING_NAME) as { artifact?: unknown; name?: unknown; zip?: unknown; at?: unknown } | null;
  if (it === null) return null;
  write("session", PENDING_NAME, null);
  if (typeof it !== "object" || !isCount(it.at) || now - it.at > BROWSER_PENDING_MS) return null;
  const zip = zipOf(it.zip);
  if (zip) return { zip };
  if (!isText(it.artifact, 100) || !/^art_\w+$/.test(it.artifact)) return null;
  return { artifact: it.artifact, name: isText(it.name) ? it.name : "the file" };
}

export const hasPending = (): boolean => read("session", PENDING_NAME) !== null;

/** Opens the database of handles; null where there is none (blocked, private window). */
function database(): Promise<IDBDatabase | null> {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open(DATABASE_NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(HANDLES);
      request.onsuccess = () => resolve(request.result);
      request.onerror = request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

async function inHandles<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | null> {
  const db = await database();
  if (db === null) return null;
  return new Promise((resolve) => {
    const done = (value: T | null): void => {
      db.close();
      resolve(value);
    };
    try {
      const transaction = db.transaction(HANDLES, mode);
      const request = work(transaction.objectStore(HANDLES));
      transaction.oncomplete = () => done(request.result);
      transaction.onerror = transaction.onabort = () => done(null);
    } catch {
      done(null);
    }
  });
}

export const keepHandle = (upload: string, handle: FileSystemFileHandle): Promise<unknown> => inHandles("readwrite", (store) => store.put(handle, upload));
export const handleOf = (upload: string): Promise<FileSystemFileHandle | null> => inHandles("readonly", (store) => store.get(upload) as IDBRequest<FileSystemFileHandle | undefined>).then((handle) => handle ?? null);
export const dropHandle = (upload: string): Promise<unknown> => inHandles("readwrite", (store) => store.delete(upload));

/** Removes handles whose upload is over. The records are read last: an upload is written down before its handle is. */
async function sweepHandles(): Promise<void> {
  const keys = await inHandles("readonly", (store) => store.getAllKeys());
  const known = new Set(uploadRecords().map((record) => record.id));
  for (const key of keys ?? []) if (typeof key !== "string" || !known.has(key)) await inHandles("readwrite", (store) => store.delete(key));
}

/** Removes what has had its time. Every page does it: nobody else can, and reading leaves the old where it is. */
export async function sweep(now = Date.now()): Promise<void> {
  const records = uploadRecords(now);
  const all = read("local", UPLOADS_NAME);
  if (all !== null && (!Array.isArray(all) || all.length !== records.length)) write("local", UPLOADS_NAME, records.length > 0 ? records : null);
  if (read("local", LATEST_NAME) !== null && latest(now) === null) dropLatest();
  const pending = read("session", PENDING_NAME) as { at?: unknown } | null;
  if (pending !== null && (!isCount(pending.at) || now - pending.at > BROWSER_PENDING_MS)) write("session", PENDING_NAME, null);
  await sweepHandles();
}
