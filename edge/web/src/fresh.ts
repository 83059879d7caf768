// Addresses of files live for a quarter of an hour. This module asks for new ones: in time where a page shows links, and again where an
// address was refused.

import { ask } from "./api";

export interface File {
  kind: string;
  role: string;
  url?: string;
}

/** Asked for anew after this long, ms; an address lives for 15 minutes. */
const STALE = 10 * 60_000;

let asked: Promise<Map<string, string>> | null = null;
let at = performance.now();

/** Where the page's files are described; null on pages of other things. */
export function sourceOf(path: string): string | null {
  const [, page, id] = /^\/([ms])\/([\w-]+)/.exec(path) ?? [];
  return id ? (page === "m" ? `/masters/${id}` : `/shared/${id}`) : null;
}

/** Addresses by kind and role, such as `preview mix`. */
export const addresses = (artifacts?: File[]): Map<string, string> =>
  new Map((artifacts ?? []).flatMap(({ kind, role, url }): [string, string][] => (url ? [[`${kind} ${role}`, url]] : [])));

/** The addresses of a master's files. */
export async function addressesOf(source: string): Promise<Map<string, string>> {
  return addresses((await ask<{ artifacts?: File[] }>(source)).artifacts);
}

/** New addresses for this page, asked for once however many want one. */
export function renewed(): Promise<Map<string, string>> {
  const source = sourceOf(location.pathname);
  if (!source) return Promise.resolve(new Map());
  asked ??= addressesOf(source).then((found) => {
    at = performance.now();
    for (const link of document.querySelectorAll<HTMLAnchorElement>("a[data-fresh]")) link.href = found.get(link.dataset.fresh ?? "") ?? link.href;
    return found;
  }).finally(() => (asked = null));
  return asked;
}

const old = (): boolean => performance.now() - at > STALE;

/** Keeps the links of this page working for as long as it is open. */
export function keepFresh(): void {
  if (!sourceOf(location.pathname)) return;
  const renew = (): void => {
    if (old() && !document.hidden && document.querySelector("a[data-fresh]")) void renewed().catch(() => undefined);
  };
  setInterval(renew, 60_000);
  document.addEventListener("visibilitychange", renew);
  // A machine that slept wakes with old addresses: the first click waits for a new one.
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-fresh]") : null;
    if (!link || !old() || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    void renewed().catch(() => undefined).then(() => location.assign(link.href));
  }, { capture: true });
}
