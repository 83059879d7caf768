// Signing in without leaving the page: address, code or the link in the mail, then what to do with a guest's tracks.

import { Problem, ask, insist, sleep } from "./api";
import { SIGN_IN_MS } from "./periods";
import { complain, explain } from "./site";
import { count } from "./text";

interface SignedIn {
  guest_masters?: number;
  /** The link was opened in another browser and signed that one in. */
  elsewhere?: boolean;
  /** For a change of address: whether it is made, or the other mailbox is still to be asked. */
  address_changed?: boolean;
}

class SignInElement extends HTMLElement {
  private waiting = new AbortController();

  connectedCallback(): void {
    this.addEventListener("submit", (event) => {
      const form = event.target as HTMLFormElement;
      const step = form.dataset.step;
      if (!step) return;
      event.preventDefault();
      void this.step(step, form, (event as SubmitEvent).submitter as HTMLButtonElement | null);
    });
    const login = this.dataset.login;
    if (login) void this.wait(login);
  }

  disconnectedCallback(): void {
    this.waiting.abort();
  }

  private get next(): string {
    const next = this.dataset.next ?? "/library";
    return next.startsWith("/") && !next.startsWith("//") && !next.includes("\\") ? next : "/library";
  }

  private async step(step: string, form: HTMLFormElement, button: HTMLButtonElement | null): Promise<void> {
    complain(form, "");
    const field = (name: string): string => (form.elements.namedItem(name) as HTMLInputElement | null)?.value.trim() ?? "";
    if (button) button.disabled = true;
    try {
      if (step === "address") {
        const email = field("email");
        const { login } = await insist<{ login: string }>("/auth/email", { method: "POST", body: { email, of_age: true } }, undefined, 2);
        const query = new URLSearchParams({ login, next: this.next });
        history.replaceState(null, "", `/sign-in?${query}`);
        this.showCode(login, email);
      } else if (step === "code") {
        const code = field("code").replace(/\D/g, "");
        if (code.length !== 6) return complain(form, "The code has six digits.");
        this.done(await ask<SignedIn>("/auth/email/code", { method: "POST", body: { login: field("login"), code } }));
      } else if (step === "google") {
        const { url } = await ask<{ url: string }>("/auth/google", { method: "POST", body: { next: this.next, of_age: true } });
        location.assign(url);
      } else if (step === "merge") {
        if (button?.value === "move") await insist("/auth/merge", { method: "POST" }, undefined, 5);
        location.assign(this.next);
      }
    } catch (error) {
      complain(form, explain(error));
    } finally {
      if (button) button.disabled = false;
    }
  }

  private showCode(login: string, email: string): void {
    this.innerHTML = `<h1 tabindex="-1">Check your mail</h1>
      <p class="lead">We sent a code and a link to <strong></strong>. Enter the code or open the link; this page continues by itself.</p>
      <form class="stack" data-step="code"><input type="hidden" name="login">
        <div class="field"><label for="code">Six-digit code</label><input id="code" class="code" name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="8" required></div>
        <button class="button primary wide">Sign in</button></form>
      <p class="muted" data-wait role="status">The code works for ${SIGN_IN_MS / 60_000} minutes, and five tries.</p>
      <p><a href="/sign-in?next=${encodeURIComponent(this.next)}">Use another address</a></p>`;
    (this.querySelector("strong") as HTMLElement).textContent = email;
    (this.querySelector("[name=login]") as HTMLInputElement).value = login;
    this.querySelector<HTMLInputElement>("#code")?.focus();
    void this.wait(login);
  }

  /** Asks whether the link was opened. */
  private async wait(login: string): Promise<void> {
    this.waiting.abort();
    this.waiting = new AbortController();
    const { signal } = this.waiting;
    for (let round = 0; !signal.aborted && round < 400; round += 1) {
      try {
        await sleep(document.hidden ? 5000 : 2500, signal);
        const { state, ...rest } = await ask<{ state: string } & SignedIn>(`/auth/email/${encodeURIComponent(login)}`, { signal });
        if (rest.elsewhere) {
          const line = this.querySelector("[data-wait]");
          if (line) line.textContent = "The link was opened in another browser or app and signed in there. To sign in here, ask for a new code.";
          return;
        }
        if (state === "signed_in") return this.done(rest);
        if (state === "expired") {
          const line = this.querySelector("[data-wait]");
          if (line) line.textContent = "This code has ended. Use another address, or the same one again.";
          return;
        }
      } catch (error) {
        if (signal.aborted || (error instanceof Problem && !error.passing)) return;
      }
    }
  }

  /** Signed in: first what to do with the guest's tracks, then on. */
  private async done(answer: SignedIn): Promise<void> {
    this.waiting.abort();
    let tracks = answer.guest_masters;
    tracks ??= await ask<{ masters: number }>("/auth/merge").then((merge) => merge.masters, () => 0);
    if (!tracks) return location.assign(this.next);
    const them = tracks === 1 ? "it" : "them";
    this.innerHTML = `<h1 tabindex="-1">You are signed in</h1>
      <p class="lead">As a guest you mastered <strong>${count(tracks, "track")}</strong> in this browser. Move ${them} into your account?</p>
      <form class="stack" data-step="merge">
        <button class="button primary wide" value="move">Move ${count(tracks, "track")}</button>
        <button class="button wide" value="leave">Leave ${them}</button>
        <p class="muted">Moved tracks belong to your account. The others are deleted when their time is up.</p></form>`;
    this.querySelector<HTMLElement>("h1")?.focus();
  }
}

customElements.define("lm-sign-in", SignInElement);

// The page a mail links to: one button.
for (const form of document.querySelectorAll<HTMLFormElement>("form[data-link]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask<SignedIn>(`/auth/link/${encodeURIComponent(form.dataset.link ?? "")}`, { method: "POST", body: {} }).then(
      (answer) => {
        const box = form.parentElement;
        if (!box) return;
        if (answer.address_changed !== undefined) {
          box.innerHTML = answer.address_changed
            ? `<h1 tabindex="-1">Your address is changed</h1><p class="lead">From now on, mail goes to the new one.</p><p><a class="button" href="/account">Account</a></p>`
            : `<h1 tabindex="-1">One of two</h1><p class="lead">Open the link in the mail to the other address as well; then the change is made.</p>`;
          return box.querySelector<HTMLElement>("h1")?.focus();
        }
        if ((answer.guest_masters ?? 0) > 0) return location.assign("/sign-in?merge=1&next=/library");
        box.innerHTML = `<h1 tabindex="-1">You are signed in</h1><p class="lead">The page you came from has gone on by itself.</p><p><a class="button" href="/library">Open the library</a></p>`;
        box.querySelector<HTMLElement>("h1")?.focus();
      },
      (error: unknown) => complain(form, explain(error)),
    );
  });
}
