// The form of wishes: notes that follow the choice, and the settings it stands for.

import { TAGS, Unreadable, type Settings, settingsOf } from "./settings";
import { complain } from "./site";

export function enliven(form: HTMLElement): void {
  const show = (): void => {
    const style = form.querySelector<HTMLInputElement>("input[name=style]:checked");
    const note = form.querySelector("[data-style-note]");
    if (style && note) note.textContent = style.dataset.note ?? "";
    const select = form.querySelector<HTMLSelectElement>("[data-loudness]");
    const chosen = select?.selectedOptions[0];
    const custom = select?.value === "custom";
    form.querySelector("[data-custom]")?.toggleAttribute("hidden", !custom);
    const said = form.querySelector("[data-loudness-note]");
    if (said) said.textContent = chosen?.dataset.note ?? (custom ? "From −40 to −5; most records are between −16 and −8." : "As loud as this style and recording allow. Balanced usually lands near −12 LUFS.");
    const strength = form.querySelector<HTMLInputElement>("input[name=strength]");
    const output = form.querySelector("output");
    if (strength && output) output.textContent = strength.value;
  };
  form.addEventListener("input", show);
  show();
  // Most visitors never open them: their code comes to those who have any.
  if (form instanceof HTMLFormElement && form.querySelector("[data-presets]")) void import("./presets").then(({ presets }) => presets(form));
}

/** The settings, or null after saying in the form what cannot be read. */
export function wished(form: HTMLFormElement): Settings | null {
  complain(form, "");
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  try {
    const settings = settingsOf(new FormData(form));
    // One that was there and has been emptied is to be gone, not to come from the mix again.
    for (const name of TAGS) {
      const input = form.querySelector<HTMLInputElement>(`[name="${name}"]`);
      if (input && (input.defaultValue !== "" || "blank" in input.dataset) && input.value.trim() === "") settings.tags = { ...settings.tags, [name]: "" };
    }
    return { ...(JSON.parse(form.dataset.unseen ?? "{}") as object), ...settings };
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    const input = form.querySelector<HTMLElement>(`[name="${error.field}"]`);
    const details = input?.closest("details");
    if (details) details.open = true;
    input?.setAttribute("aria-invalid", "true");
    complain(form, error.message);
    input?.focus();
    return null;
  }
}
