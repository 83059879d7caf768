// Changes of this visitor's masters as they happen: server-sent events that reconnect, and asking where a network swallows streams.

import { Problem } from "./api";

export interface Summary {
  id: string;
  title: string;
  state: "waiting" | "running" | "done" | "failed" | "cancelled";
  stage?: string;
  queue_position?: number;
  waits_for?: "album";
  batch?: string;
  seconds?: number;
  lufs?: number;
  error?: { code: string; detail: string };
  version: number;
  deleted?: boolean;
}

const SILENT = 35_000; // the service pings every 10 s, and the edge ends a stream before 30 s

/** Calls `changed` for every master, first as they are, then as they change. Returns how to stop. */
export function watch(changed: (master: Summary, first: boolean) => void): () => void {
  let stopped = false;
  let source: EventSource | null = null;
  let silence = 0;
  let failures = 0;
  let seen = 0;
  let tag = "";
  let timer = 0;

  const tell = (master: Summary, first: boolean): void => {
    seen = Math.max(seen, master.version ?? 0);
    changed(master, first);
  };

  const heard = (): void => {
    failures = 0;
    clearTimeout(silence);
    silence = setTimeout(() => lost(), SILENT) as unknown as number;
  };

  const read = <T>(text: string): T | null => {
    try {
      return JSON.parse(text) as T;
    } catch {
      return null;
    }
  };

  function open(): void {
    if (stopped) return;
    source = new EventSource("/v1/events");
    source.addEventListener("open", heard);
    source.addEventListener("snapshot", (event) => {
      heard();
      for (const master of read<{ items: Summary[] }>((event as MessageEvent<string>).data)?.items ?? []) tell(master, true);
    });
    source.addEventListener("master", (event) => {
      heard();
      const master = read<Summary>((event as MessageEvent<string>).data);
      if (master) tell(master, false);
    });
    source.addEventListener("error", () => {
      // The browser itself comes back after a clean end; only a refusal closes for good.
      if (source?.readyState === EventSource.CLOSED) lost();
    });
    heard();
  }

  function lost(): void {
    source?.close();
    clearTimeout(silence);
    failures += 1;
    if (stopped) return;
    if (failures >= 2) void poll();
    else timer = setTimeout(open, 1000) as unknown as number;
  }

  /** Asks every few seconds, and tries the stream again after a while. */
  async function poll(): Promise<void> {
    for (let round = 0; !stopped && round < 12; round += 1) {
      try {
        const response = await fetch(`/v1/events?since=${seen}`, { headers: { accept: "application/json", ...(tag ? { "if-none-match": tag } : {}) } });
        if (response.status === 200) {
          tag = response.headers.get("etag") ?? "";
          for (const master of ((await response.json()) as { items?: Summary[] }).items ?? []) tell(master, false);
        } else if (response.status !== 304) throw new Problem(response.status, "events", "");
        await new Promise((resolve) => (timer = setTimeout(resolve, 3000) as unknown as number));
      } catch {
        await new Promise((resolve) => (timer = setTimeout(resolve, 10_000) as unknown as number));
      }
    }
    failures = 0;
    open();
  }

  open();
  return () => {
    stopped = true;
    source?.close();
    clearTimeout(silence);
    clearTimeout(timer);
  };
}
