// What every page does with script: forms that stay on the page, times of the reader, toasts, a download that waited for a sign-in.

import "./site.css";
import { Problem, ask, insist, sleep } from "./api";
import { type Pending, hasPending, keepPending, sweep, takePending } from "./storage";

export const icon = (name: string): string => `<svg class="icon" aria-hidden="true"><use href="#i-${name}"></use></svg>`;

/** A short message at the bottom, perhaps with one thing to do about it. */
export function toast(text: string, action?: { name: string; act: () => void; seconds?: number }): void {
  const box = document.getElementById("toasts");
  if (!box) return;
  const line = document.createElement("p");
  line.className = "toast";
  line.append(text);
  const go = (): void => line.remove();
  if (action) {
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = action.name;
    button.addEventListener("click", () => {
      go();
      action.act();
    });
    line.append(" ", button);
  }
  box.append(line);
  setTimeout(go, (action?.seconds ?? 6) * 1000);
}

export const signedIn = (): boolean => document.body.hasAttribute("data-signed-in");

/** Times as the reader's clock and language say them. */
export function localTimes(root: ParentNode = document): void {
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (time.dateTime.length < 12 || Number.isNaN(at.getTime())) continue;
    time.title = time.textContent ?? "";
    const day: Intl.DateTimeFormatOptions = { day: "numeric", month: "short", year: at.getFullYear() === new Date().getFullYear() ? undefined : "numeric" };
    time.textContent = at.toLocaleString("en-GB", time.hasAttribute("data-day") ? day : { ...day, hour: "2-digit", minute: "2-digit" });
  }
}

/** A player that goes on when the page around it is drawn again. */
interface Playing extends HTMLElement {
  replaces?(newer: HTMLElement): boolean;
}

/** Renders the page again where it stands: the edge's HTML is the one that counts. */
export async function refresh(): Promise<void> {
  const response = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
  const text = await response.text();
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("main");
  const old = document.getElementById("main");
  if (!fresh || !old) return location.reload();
  // To a parser scripts are off: what is for browsers without them would become part of the page.
  for (const plain of fresh.querySelectorAll("noscript")) plain.remove();
  const focus = document.activeElement?.id;
  const player = old.querySelector<Playing>("lm-player");
  old.replaceChildren(...fresh.childNodes);
  const newer = old.querySelector<HTMLElement>("lm-player");
  if (newer) player?.replaces?.(newer);
  localTimes(old);
  if (focus) document.getElementById(focus)?.focus();
}

/** Says next to a form what went wrong with it. */
export function complain(form: HTMLElement, text: string): void {
  let line = form.querySelector<HTMLElement>(":scope > .said-wrong");
  if (text === "") return line?.remove();
  if (!line) {
    line = document.createElement("p");
    line.className = "said-wrong bad";
    line.setAttribute("role", "alert");
    form.append(line);
  }
  line.textContent = text;
}

/** Asks for a fresh sign-in in another tab, so that nothing typed here is lost. */
function signInBeside(form: HTMLElement): void {
  complain(form, "This needs a fresh sign-in. ");
  const link = document.createElement("a");
  link.href = "/sign-in?again=1&next=/account";
  link.target = "_blank";
  link.rel = "opener";
  link.textContent = "Sign in in a new tab";
  form.querySelector(":scope > .said-wrong")?.append(link, ", then press the button again. What you typed stays here.");
}

/** What to show for an error; signs in first where that is what is missing. */
export function explain(error: unknown): string {
  if (!(error instanceof Problem)) return "Something unexpected happened on this page. Reload it and try again.";
  if (error.code === "auth.recent_sign_in_required") {
    location.assign(`/sign-in?again=1&next=${encodeURIComponent(location.pathname + location.hash)}`);
    return "Sign in once more first; this needs a fresh one.";
  }
  return error.message;
}

/** A form's fields as JSON: ticked boxes as true, lists as lists. */
export function fieldsOf(form: HTMLFormElement): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const input of form.querySelectorAll<HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement>("[name]")) {
    const box = input instanceof HTMLInputElement && input.type === "checkbox";
    if (input.hasAttribute("data-bool")) body[input.name] = box && input.checked;
    else if (input.hasAttribute("data-list")) body[input.name] = [...((body[input.name] as string[] | undefined) ?? []), ...(box && input.checked ? [input.value] : [])];
    else if (input.hasAttribute("data-number")) {
      if (input.value.trim() !== "") body[input.name] = Number(input.value);
    } else if (input.hasAttribute("data-order")) body[input.name] = input.value.split(" ").filter(Boolean);
    else if (!box || input.checked) body[input.name] = input.value;
  }
  return body;
}

/** Forms with `data-api="METHOD /v1/…"` are sent there, and `data-then` says what follows. */
async function send(form: HTMLFormElement, submitter: HTMLElement | null): Promise<void> {
  const [method = "POST", path = ""] = (form.dataset.api ?? "").split(" ");
  const body = fieldsOf(form);
  delete body.id;
  delete body.remove;
  if (submitter instanceof HTMLButtonElement && submitter.name) body[submitter.name] = submitter.value === "true" ? true : submitter.value;
  const confirm = form.dataset.confirm;
  if (confirm !== undefined) {
    if (String(body.confirm ?? "").trim().toLowerCase() !== confirm.toLowerCase()) return complain(form, `Type ${confirm} to confirm.`);
    delete body.confirm;
  }
  complain(form, "");
  const buttons = [...form.querySelectorAll<HTMLButtonElement>("button")];
  for (const button of buttons) button.disabled = true;
  try {
    const empty = Object.keys(body).length === 0 || method === "DELETE";
    const answer = await insist<Record<string, unknown>>(path.replace(/^\/v1/, ""), empty ? { method } : { method, body }, undefined, 3);
    await follow(form, form.dataset.then ?? "reload", answer ?? {});
  } catch (error) {
    if (error instanceof Problem && error.code === "auth.recent_sign_in_required") signInBeside(form);
    else complain(form, explain(error));
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

async function follow(form: HTMLFormElement, then: string, answer: Record<string, unknown>): Promise<void> {
  const [what = "", rest = ""] = [then.split(":")[0], then.slice(then.indexOf(":") + 1)];
  if (then.startsWith("/")) return location.assign(then);
  switch (what) {
    case "say":
      form.reset?.call(form);
      return toast(rest);
    case "remove":
      (form.closest("li, .notice") ?? form).remove();
      return;
    case "secret":
      await refresh();
      return showOnce(String(answer[rest] ?? ""));
    case "ticket":
      form.replaceWith(said(`Thank you, we have it. Your ticket is ${String(answer.ticket ?? "")}; the answer comes by mail.`));
      return;
    default:
      return refresh();
  }
}

function said(text: string): HTMLElement {
  const line = document.createElement("p");
  line.className = "notice good";
  line.setAttribute("role", "status");
  line.innerHTML = icon("verified");
  const words = document.createElement("span");
  words.textContent = text;
  line.append(words);
  return line;
}

/** A secret that is never shown again. */
function showOnce(secret: string): void {
  const box = document.querySelector("[data-once]");
  if (!box || secret === "") return;
  const line = said("Copy it now; it is not shown again. ");
  const code = document.createElement("code");
  code.className = "secret";
  code.textContent = secret;
  const copy = document.createElement("button");
  copy.className = "button";
  copy.innerHTML = `${icon("copy")} Copy`;
  copy.addEventListener("click", () => {
    void navigator.clipboard.writeText(secret).then(() => toast("Copied."), () => getSelection()?.selectAllChildren(code));
  });
  line.append(code, copy);
  box.replaceChildren(line);
  line.scrollIntoView({ block: "center" });
}

/** Fetches a file, or several masters in one archive. Whoever is not signed in gets it after signing in. */
export async function take(wanted: Pending): Promise<void> {
  const zip = "zip" in wanted;
  try {
    const asked = zip ? insist<{ url: string }>("/zips", { method: "POST", body: wanted.zip }, undefined, 3) : insist<{ url: string }>(`/artifacts/${wanted.artifact}/link`, { method: "POST" }, undefined, 5);
    location.assign((await asked).url);
    toast(`${zip ? "The ZIP" : wanted.name} is on its way.`);
  } catch (error) {
    if (error instanceof Problem && error.code === "auth.sign_in_required") {
      keepPending(wanted);
      location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    toast(explain(error));
  }
}

/** The service does not answer: ask again and come back by itself. */
async function comeBack(box: HTMLElement): Promise<void> {
  const line = box.querySelector("[data-away-said]");
  for (let wait = 3; ; wait = Math.min(wait * 1.5, 30)) {
    if (line) line.textContent = "This page comes back by itself as soon as it can.";
    await sleep(wait * 1000);
    try {
      await ask("/status");
      location.reload();
      return;
    } catch (error) {
      if (error instanceof Problem && !error.passing) return location.reload();
    }
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.dataset.api === undefined || event.defaultPrevented) return;
  event.preventDefault();
  void send(form, (event as SubmitEvent).submitter);
});

// A notice that is closed: the page stays as it is, also in the middle of an upload.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.dataset.quiet === undefined) return;
  event.preventDefault();
  const fields = new URLSearchParams([...new FormData(form)].map(([name, value]) => [name, String(value)]));
  void fetch(form.action, { method: "POST", body: fields, credentials: "same-origin", redirect: "manual" }).then(
    (reply) => (reply.type === "opaqueredirect" || reply.ok ? form.remove() : toast("That did not work. Try again in a moment.")),
    () => toast("No connection. Try again in a moment."),
  );
});

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-artifact]") : null;
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.dataset.kind === "report") return; // opens as a page
  event.preventDefault();
  void take({ artifact: link.dataset.artifact ?? "", name: link.dataset.name ?? "The file" });
});

localTimes();
void sweep();
document.documentElement.classList.add("script");
for (const box of document.querySelectorAll<HTMLElement>("[data-away]")) void comeBack(box);
if (signedIn() && hasPending() && !location.pathname.startsWith("/sign-in")) {
  const pending = takePending();
  if (pending) void take(pending);
}
