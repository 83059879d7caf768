// Tells a file again without reading all of it: name, size, time of change, and SHA-256 of its first and last MiB.

const MIB = 1 << 20;

export async function fingerprint(file: File): Promise<string> {
  const first = await file.slice(0, MIB).arrayBuffer();
  const last = file.size > MIB ? await file.slice(Math.max(MIB, file.size - MIB)).arrayBuffer() : new ArrayBuffer(0);
  const head = new TextEncoder().encode(`${file.name}\n${file.size}\n${file.lastModified}\n`);
  const all = new Uint8Array(head.length + first.byteLength + last.byteLength);
  all.set(head, 0);
  all.set(new Uint8Array(first), head.length);
  all.set(new Uint8Array(last), head.length + first.byteLength);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
