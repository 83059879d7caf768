// The settings a form asks for, as the API takes them. Field names are those of the form without script (`edge/src/wishes.rs`).

import { typed } from "./text";

export interface Settings {
  style: string;
  strength: Record<string, number | null>;
  loudness: "style" | { lufs: number } | { destination: string };
  formats: string[];
  tags?: Record<string, string | number>;
  [other: string]: unknown;
}

/** What the files can say about themselves. */
export const TAGS = ["title", "artist", "album", "album_artist", "date", "genre", "isrc", "composer", "copyright", "publisher", "comment"];
const NUMBERED = ["track", "tracks", "disc", "discs"];

export class Unreadable extends Error {
  constructor(
    readonly field: string,
    text: string,
  ) {
    super(text);
  }
}

/** Only what was wished differs from the service's defaults. */
export function settingsOf(form: FormData): Settings {
  const text = (name: string): string => {
    const value = form.get(name);
    return typeof value === "string" ? value.trim() : "";
  };
  const number = (name: string, low: number, high: number, what: string): number | null => {
    if (text(name) === "") return null;
    const value = typed(text(name));
    if (value === null || value < low || value > high) throw new Unreadable(name, `${what} takes a number from ${low} to ${high}.`.replaceAll("-", "−"));
    return value;
  };
  const percent = (name: string, what: string): number | null => {
    const value = number(name, 0, 100, what);
    return value === null ? null : Math.round(value);
  };
  const strength: Record<string, number | null> = { overall: percent("strength", "Strength") ?? 50 };
  for (const [field, aspect] of [["tone", "tone"], ["dynamics", "dynamics"], ["width", "width"], ["loudness_strength", "loudness"]] as const) {
    const value = percent(field, "Each aspect");
    if (value !== null) strength[aspect] = value;
  }
  const settings: Settings = { style: text("style") || "balanced", strength, loudness: "style", formats: form.getAll("format").filter((f) => typeof f === "string") };
  if (settings.formats.length === 0) throw new Unreadable("format", "Choose at least one file to be made.");
  const loudness = text("loudness");
  if (loudness === "custom") {
    const lufs = number("lufs", -40, -5, "Loudness");
    if (lufs === null) throw new Unreadable("lufs", "Say how loud, for example −14.");
    settings.loudness = { lufs };
  } else if (loudness !== "") {
    settings.loudness = { destination: loudness };
  }
  const ceiling = number("ceiling", -12, 0, "The ceiling");
  if (ceiling !== null) settings.ceiling = ceiling;
  if (text("rate") !== "") settings.rate = { hz: Number(text("rate")) };
  if (text("phase") !== "") settings.phase = text("phase");
  if (form.get("insist") !== null) settings.insist = true;
  if (text("material") !== "") settings.material = text("material");
  const fix = form.getAll("fix").filter((f) => typeof f === "string");
  if (fix.length > 0) settings.fix = fix;
  const tags: Record<string, string | number> = Object.fromEntries(TAGS.map((name) => [name, text(name)]).filter(([, value]) => value !== ""));
  for (const name of NUMBERED) if (text(name) !== "") tags[name] = Number(text(name));
  if (text("isrc") !== "" && !/^[a-z]{2}-?[a-z0-9]{3}-?\d{2}-?\d{5}$/i.test(text("isrc"))) throw new Unreadable("isrc", "An ISRC has two letters, three letters or digits, and seven digits, for example DE-A12-26-00001.");
  if (Object.keys(tags).length > 0) settings.tags = tags;
  return settings;
}
