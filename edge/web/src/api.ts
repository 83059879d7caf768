// The API as the pages use it: JSON in and out, problems as errors with their code, patience where the service is away.

import { sentence } from "./sentence";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    /** For a person: never the API's own detail. */
    words: string,
    readonly body: Record<string, unknown> = {},
    /** Seconds the service asked us to wait. */
    readonly retryAfter = 0,
  ) {
    super(words);
    this.name = "Problem";
  }

  /** Whether asking again may help: the service is away, busy, or could not be reached. */
  get passing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });

/** Half a second, doubled each time up to half a minute, and some chance so that a thousand tabs do not come back at once. */
export function backoff(attempt: number, random = Math.random): number {
  return Math.min(30_000, 500 * 2 ** Math.min(attempt, 10)) * (0.5 + random() / 2);
}

export interface Ask {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Refusals that asking again does not change, however the status reads. */
  final?: (problem: Problem) => boolean;
}

async function problemOf(response: Response): Promise<Problem> {
  let body: Record<string, unknown> = {};
  try {
    const read: unknown = await response.json();
    if (typeof read === "object" && read !== null) body = read as Record<string, unknown>;
  } catch {
    // Not JSON: a proxy's own page.
  }
  const code = typeof body.code === "string" && body.code ? body.code : `http.${response.status}`;
  const said = Number(response.headers.get("retry-after") ?? 0);
  const after = Number.isFinite(said) ? said : 0;
  return new Problem(response.status, code, sentence(code, body, after), body, after);
}

/** One request. */
export async function ask<T>(path: string, { method = "GET", body, headers = {}, signal }: Ask = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/v1${path}`, {
      method,
      headers: { accept: "application/json", ...(body === undefined || body instanceof Blob ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? null : body instanceof Blob ? body : JSON.stringify(body),
      signal: signal ?? null,
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "net.unreachable", sentence("net.unreachable"));
  }
  if (!response.ok) throw await problemOf(response);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    throw new Problem(502, "net.garbled", sentence("net.garbled"));
  }
}

/** Resolves when the browser says it is online again; at once where it is. */
export function online(signal?: AbortSignal): Promise<void> {
  if (navigator.onLine) return Promise.resolve();
  return new Promise((resolve, reject) => {
    addEventListener("online", () => resolve(), { once: true });
    signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

/** Asks again as long as that may help. Creates carry an idempotency key, so that a lost answer makes nothing twice. */
export async function insist<T>(path: string, what: Ask = {}, waiting?: (problem: Problem | null) => void, most = 40): Promise<T> {
  const headers = what.method === "POST" ? { "idempotency-key": key(), ...what.headers } : { ...what.headers };
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await ask<T>(path, { ...what, headers });
      if (attempt > 0) waiting?.(null);
      return answer;
    } catch (error) {
      if (!(error instanceof Problem) || !error.passing || attempt >= most || what.final?.(error)) throw error;
      waiting?.(error);
      await online(what.signal);
      await sleep(Math.max(backoff(attempt), Math.min(error.retryAfter, 120) * 1000), what.signal);
    }
  }
}

export function key(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
