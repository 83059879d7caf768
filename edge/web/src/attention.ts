// What is seen of the work while somebody looks elsewhere: the ring of the icon fills, and who asked for it is told when it is done.

const RING = 2 * Math.PI * 8;
let plain: string | null = null;
let shown = -1;

/** The page's icon as a ring that fills, 0 to 1; null: as it is. */
export function ring(share: number | null): void {
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  if (!link) return;
  plain ??= link.href;
  const percent = share === null ? -1 : Math.round(Math.max(0, Math.min(1, share)) * 20) * 5;
  if (percent === shown) return;
  shown = percent;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke-width="4"><circle cx="12" cy="12" r="8" stroke="#8a857a" stroke-opacity=".4"/><circle cx="12" cy="12" r="8" stroke="#d97f10" stroke-linecap="round" stroke-dasharray="${((RING * percent) / 100).toFixed(1)} 99" transform="rotate(-90 12 12)"/></svg>`;
  link.href = percent < 0 ? plain : `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

const can = (): boolean => typeof Notification === "function" && isSecureContext;

/** Tells who has asked for it and is looking elsewhere. */
export function announce(title: string, body: string): void {
  if (!can() || Notification.permission !== "granted" || !document.hidden) return;
  const note = new Notification(title, { body, icon: "/icon-192.png", tag: location.pathname });
  note.onclick = () => {
    window.focus();
    note.close();
  };
}

/** A button that asks for it: while something is made, and never twice. */
export function offerNotice(before: Element | null): void {
  if (!before || !can() || Notification.permission !== "default" || document.querySelector("[data-notify]")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.dataset.notify = "";
  button.textContent = "Tell me when it is ready";
  button.addEventListener("click", () => {
    void Notification.requestPermission().then((answer) => {
      const line = document.createElement("p");
      line.className = "muted";
      line.setAttribute("role", "status");
      line.textContent = answer === "granted" ? "Your browser will tell you." : "Your browser does not allow it for this site.";
      button.replaceWith(line);
    });
  });
  before.before(button);
}
