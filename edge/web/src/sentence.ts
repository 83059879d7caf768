// What people read when the API says no: one sentence for each code (`edge/src/pages/sentences.json`, which the edge reads as well).

import table from "../../src/pages/sentences.json";

const SENTENCES: Record<string, string> = table;

/** A time of day as the reader writes it, with the date where it is not today. */
export function moment(at: number, now = Date.now()): string {
  const date = new Date(at);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return time;
  today.setDate(today.getDate() + 1);
  if (date.toDateString() === today.toDateString()) return `${time} tomorrow`;
  return `${time} on ${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}`;
}

/** The sentence with its values; null where one is missing. */
function filled(sentence: string | undefined, values: Record<string, unknown>): string | null {
  let whole = true;
  const text = sentence?.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (typeof value !== "string" && typeof value !== "number") whole = false;
    return String(value);
  });
  return whole ? (text ?? null) : null;
}

/** The sentence of a code; `after`: seconds that the service asked to wait. */
export function sentence(code: string, body: Record<string, unknown> = {}, after = 0, now = Date.now()): string {
  const values = after > 0 ? { ...body, when: moment(now + after * 1000, now) } : body;
  const part = code.split(".")[0] ?? "";
  for (const key of [code, `${part}.${code.slice(part.length + 1, part.length + 2)}*`, `${part}.*`, "*"]) {
    const text = filled(SENTENCES[key], values);
    if (text) return text;
  }
  return "";
}
