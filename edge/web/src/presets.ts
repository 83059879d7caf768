// Presets: settings under a name in the account, chosen into a form and saved out of it. Fetched when somebody opens their part.

import { Problem, ask, insist } from "./api";
import type { Settings } from "./settings";
import { explain } from "./site";
import { wished } from "./wishes";

interface Preset {
  name: string;
  settings: Partial<Settings>;
  outdated?: string;
}

/** Settings without a field of their own: they travel with the form that a preset was chosen into. */
const UNSEEN = ["limiter", "edit", "reference"];

/** Sets the fields of a form as a preset has them. */
export function fill(form: HTMLFormElement, settings: Partial<Settings>): void {
  const set = (name: string, value: unknown): void => {
    const field = form.querySelector<HTMLInputElement | HTMLSelectElement>(`[name="${name}"]`);
    if (field) field.value = value === null || value === undefined ? "" : String(value);
  };
  const tick = (name: string, values: string[]): void => {
    for (const box of form.querySelectorAll<HTMLInputElement>(`[name="${name}"]`)) box.checked = values.includes(box.value);
  };
  const { strength, loudness, tags } = settings;
  tick("style", [settings.style ?? "balanced"]);
  set("strength", strength?.overall ?? 50);
  for (const [field, aspect] of [["tone", "tone"], ["dynamics", "dynamics"], ["width", "width"], ["loudness_strength", "loudness"]] as const) set(field, strength?.[aspect]);
  const wanted = typeof loudness === "object" ? loudness : {};
  set("loudness", "lufs" in wanted ? "custom" : "destination" in wanted ? wanted.destination : "");
  set("lufs", "lufs" in wanted ? wanted.lufs : "");
  tick("format", settings.formats ?? []);
  set("ceiling", settings.ceiling);
  set("rate", (settings.rate as { hz?: number } | undefined)?.hz);
  set("phase", settings.phase === "linear" ? "linear" : "");
  set("material", settings.material);
  tick("fix", (settings.fix as string[] | undefined) ?? []);
  tick("insist", settings.insist ? ["on"] : []);
  // What names one song is not a preset's to say.
  for (const name of ["artist", "album", "album_artist", "date", "genre"]) if (tags?.[name] !== undefined) set(name, tags[name]);
  form.dataset.unseen = JSON.stringify(Object.fromEntries(UNSEEN.flatMap((name) => (settings[name] === undefined ? [] : [[name, settings[name]]]))));
  form.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Brings the part of a form that is about presets to life. */
export function presets(form: HTMLFormElement): void {
  const part = form.querySelector<HTMLDetailsElement>("[data-presets]");
  const select = part?.querySelector<HTMLSelectElement>("[data-preset]");
  const name = part?.querySelector<HTMLInputElement>("[data-preset-name]");
  const save = part?.querySelector<HTMLButtonElement>("[data-preset-save]");
  const line = part?.querySelector<HTMLElement>("[data-preset-said]");
  if (!part || !select || !name || !save || !line) return;
  let known: Preset[] | null = null;
  const say = (text: string): void => void (line.textContent = text);
  const list = async (): Promise<void> => {
    known = (await ask<{ items: Preset[] }>("/presets")).items;
    const options = known.map((preset) => {
      const option = new Option(preset.outdated === undefined ? preset.name : `${preset.name} (save it again)`, preset.name);
      option.disabled = preset.outdated !== undefined;
      return option;
    });
    select.replaceChildren(new Option(known.length > 0 ? "Choose …" : "None saved yet", ""), ...options);
    select.disabled = known.length === 0;
  };
  part.addEventListener("toggle", () => {
    if (part.open && !known) void list().catch((error: unknown) => say(explain(error)));
  });
  select.addEventListener("change", () => {
    const preset = known?.find((one) => one.name === select.value);
    if (!preset) return;
    fill(form, preset.settings);
    name.value = preset.name;
    say(`“${preset.name}” is set below. Whatever you change now is for this time only, unless you save it.`);
  });
  const keep = async (): Promise<void> => {
    const called = name.value.trim();
    if (called === "") {
      say("Give it a name first.");
      return name.focus();
    }
    const settings = wished(form);
    if (!settings) return;
    // A title and an ISRC are of one song.
    const { title: _title, isrc: _isrc, ...tags } = settings.tags ?? {};
    const replaced = known?.some((preset) => preset.name === called) ?? false;
    save.disabled = true;
    try {
      await insist(`/presets/${encodeURIComponent(called)}`, { method: "PUT", body: { settings: { ...settings, tags } } }, undefined, 3);
      await list();
      select.value = called;
      say(`“${called}” is ${replaced ? "saved again" : "saved"}. Delete presets on your account page.`);
    } catch (error) {
      say(error instanceof Problem && error.code === "preset.name" ? "Use letters, digits, spaces, dots, _ or -, beginning with a letter or a digit." : explain(error));
    }
    save.disabled = false;
  };
  save.addEventListener("click", () => void keep());
  // Enter in the name saves, and does not order a master.
  name.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    void keep();
  });
}
