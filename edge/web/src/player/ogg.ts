// Ogg pages (RFC 3533) and Opus in them (RFC 7845): enough to cut a stretch out of a file that a browser decodes from its exact first
// sample, whatever came before.

export const RATE = 48_000;
/**
 * What a decoder is given to settle before the first sample that counts. RFC 7845, section 4.6, asks for 80 ms at least; with 340 ms
 * the band energies, which are predicted from frame to frame, agree too. A page of 1 s and this together still fit the 16-bit pre-skip.
 */
export const PREROLL = 16_320;

export interface Page {
  /** Where it begins in the bytes that were parsed. */
  at: number;
  size: number;
  /** Samples at its end, pre-skip included; −1 where no packet ends. */
  granule: number;
  /** Begins with the rest of a packet. */
  continued: boolean;
  bytes: Uint8Array;
}

const TABLE = new Uint32Array(256).map((_, n) => {
  let r = n << 24;
  for (let bit = 0; bit < 8; bit += 1) r = r & 0x80000000 ? (r << 1) ^ 0x04c11db7 : r << 1;
  return r >>> 0;
});

function checksum(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) ^ (TABLE[((crc >>> 24) ^ byte) & 255] ?? 0)) >>> 0;
  return crc;
}

/** The page at a place; null where none is whole there. */
export function pageAt(bytes: Uint8Array, at: number): Page | null {
  if (at + 27 > bytes.length || bytes[at] !== 0x4f || bytes[at + 1] !== 0x67 || bytes[at + 2] !== 0x67 || bytes[at + 3] !== 0x53 || bytes[at + 4] !== 0) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  const segments = view.getUint8(26);
  if (at + 27 + segments > bytes.length) return null;
  let size = 27 + segments;
  for (let n = 0; n < segments; n += 1) size += view.getUint8(27 + n);
  if (at + size > bytes.length) return null;
  return { at, size, granule: Number(view.getBigInt64(6, true)), continued: (view.getUint8(5) & 1) === 1, bytes: bytes.subarray(at, at + size) };
}

/** The pages from a place on, one after the other; a page is believed where its checksum is right. */
export function pages(bytes: Uint8Array, from = 0): Page[] {
  const found: Page[] = [];
  let at = from;
  while (at + 27 <= bytes.length) {
    const page = pageAt(bytes, at);
    if (page && right(page)) {
      found.push(page);
      at += page.size;
      continue;
    }
    if (page === null && found.length > 0 && bytes[at] === 0x4f) break; // the last one is cut
    at = bytes.indexOf(0x4f, at + 1);
    if (at < 0) break;
  }
  return found;
}

function right(page: Page): boolean {
  const copy = page.bytes.slice();
  const said = new DataView(copy.buffer).getUint32(22, true);
  copy.fill(0, 22, 26);
  return checksum(copy) === said;
}

export interface Header {
  preSkip: number;
  channels: number;
  /** The page with OpusHead, and those with OpusTags. */
  head: Uint8Array;
  tags: Uint8Array[];
  /** Where the audio begins. */
  end: number;
}

const says = (page: Page, word: string): boolean => {
  const at = 27 + (page.bytes[26] ?? 0);
  return [...word].every((letter, n) => page.bytes[at + n] === letter.charCodeAt(0));
};

/** Reads the header pages; null where it is no Opus, or not all of it is here. */
export function header(bytes: Uint8Array): Header | null {
  const all = pages(bytes);
  const head = all[0];
  if (!head || head.at !== 0 || !says(head, "OpusHead")) return null;
  const body = 27 + (head.bytes[26] ?? 0);
  const view = new DataView(head.bytes.buffer, head.bytes.byteOffset + body);
  const tags: Uint8Array[] = [];
  for (const page of all.slice(1)) {
    // Tags may fill several pages; those of audio are the first with a granule above 0.
    if (page.granule > 0) return tags.length > 0 ? { preSkip: view.getUint16(10, true), channels: view.getUint8(9), head: head.bytes, tags, end: page.at } : null;
    tags.push(page.bytes);
  }
  return null;
}

/** A page with another granule and number, and its checksum put right. */
function rewritten(page: Uint8Array, granule: number, number: number, flags: number): Uint8Array {
  const copy = page.slice();
  const view = new DataView(copy.buffer);
  view.setUint8(5, flags);
  view.setBigInt64(6, BigInt(granule), true);
  view.setUint32(18, number, true);
  view.setUint32(22, 0, true);
  view.setUint32(22, checksum(copy), true);
  return copy;
}

/**
 * A file of its own that decodes to the samples from `start` on (counted without pre-skip). `before` is the granule at the end of the
 * page before the first of `audio`, which must lie at least {@link PREROLL} before `start` or be the beginning.
 */
export function stretch(header: Header, audio: Page[], before: number, start: number): Uint8Array<ArrayBuffer> | null {
  const skip = start + header.preSkip - before;
  if (skip < 0 || skip > 0xffff || audio.length === 0) return null;
  const head = header.head.slice();
  const body = 27 + (head[26] ?? 0);
  new DataView(head.buffer).setUint16(body + 10, skip, true);
  const parts = [rewritten(head, 0, 0, 2), ...header.tags.map((page, n) => rewritten(page, 0, n + 1, page[5]! & 1))];
  for (const page of audio) parts.push(rewritten(page.bytes, page.granule < 0 ? -1 : page.granule - before, parts.length, page === audio.at(-1) ? 4 : 0));
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
