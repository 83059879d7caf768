// Several styles of one mix in one go: what they cost is said before, and the page stays, so that they can be compared on it.

import { insist } from "./api";
import { complain, explain, refresh, toast } from "./site";
import { count } from "./text";
import { wished } from "./wishes";

const NUMBERS = ["", "One master counts", "Two masters count", "Three masters count"];

/** What so many masters take of the day's tracks; `left`: how many there are, null where nothing limits them. */
export function cost(masters: number, left: number | null): string {
  const rest = left === null ? "" : `; you can master ${count(left, "more track")} today`;
  if (masters === 0) return `Each counts as one track${rest}.`;
  if (left !== null && masters > left) return `${NUMBERS[masters]} as ${count(masters, "track")}, and ${left === 0 ? "none is" : `only ${left} ${left === 1 ? "is" : "are"}`} left today. Choose fewer, or come back tomorrow.`;
  return `${NUMBERS[masters]} as ${count(masters, "track")}${rest}.`;
}

/** `form`: the styles; `full`: the other settings that all of them have. */
export function several(form: HTMLFormElement, full: HTMLFormElement): void {
  const boxes = [...form.querySelectorAll<HTMLInputElement>("input[name=direction]")];
  const make = form.querySelector<HTMLButtonElement>("[data-make]");
  const surprise = form.querySelector<HTMLButtonElement>("[data-surprise]");
  const line = form.querySelector<HTMLElement>("[data-cost]");
  if (!make || !surprise || !line) return;
  const most = Number(form.dataset.most);
  const left = form.dataset.left === undefined ? null : Number(form.dataset.left);
  const chosen = (): HTMLInputElement[] => boxes.filter((box) => box.checked);
  const show = (): void => {
    const { length } = chosen();
    for (const box of boxes) box.disabled = !box.checked && length >= most;
    make.disabled = length === 0 || (left !== null && length > left);
    make.textContent = length === 0 ? "Make them" : `Make ${count(length, "master")}`;
    const words = cost(length, left);
    if (line.textContent !== words) line.textContent = words;
  };
  form.addEventListener("input", show);
  surprise.addEventListener("click", () => {
    // What has not been made comes first.
    const shuffled = boxes.map((box) => ({ box, place: Number("made" in box.dataset) + Math.random() })).sort((a, b) => a.place - b.place);
    const picked = new Set(shuffled.slice(0, Math.min(most, left ?? most)).map(({ box }) => box));
    for (const box of boxes) box.checked = picked.has(box);
    show();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void order(form, full, chosen().map((box) => box.value), [make, surprise]);
  });
  show();
}

async function order(form: HTMLFormElement, full: HTMLFormElement, styles: string[], buttons: HTMLButtonElement[]): Promise<void> {
  complain(form, "");
  const settings = wished(full);
  if (!settings) return;
  const dropped = document.querySelector<HTMLInputElement>("[data-same-reference]")?.checked === false;
  for (const button of buttons) button.disabled = true;
  let made = 0;
  try {
    for (const style of styles) {
      await insist(`/masters/${form.dataset.several}/rerun`, { method: "POST", body: { settings: { ...settings, style }, ...(dropped ? { reference_upload: null } : {}) } }, undefined, 5);
      made += 1;
    }
    toast(`${count(made, "master")} under way. This page shows when they can be compared.`);
  } catch (error) {
    if (made === 0) {
      for (const button of buttons) button.disabled = false;
      return complain(form, explain(error));
    }
    toast(`${made} of ${styles.length} under way. ${explain(error)}`);
  }
  await refresh();
}
