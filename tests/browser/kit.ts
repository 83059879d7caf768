// What the tests share: pages that fail on anything odd, files to drop, mails to read.

import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type BrowserContext, type Page } from "@playwright/test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
export const DATA = join(here, "../data");
const MADE = join(here, "results/made");

/** Songs of the repository: real mixes, seven seconds each. */
export const song = (n = 0): string => {
  const songs = readdirSync(DATA).filter((name) => name.endsWith(".flac")).sort();
  return join(DATA, songs[n % songs.length] ?? "");
};

/** A file with these bytes. */
export function made(name: string, bytes: Buffer | string): string {
  mkdirSync(MADE, { recursive: true });
  const path = join(MADE, name);
  writeFileSync(path, bytes);
  return path;
}

/** A 16-bit stereo WAV: two tones and a beat, so that it is music enough to be mastered. */
export function wav(name: string, seconds: number, seed = 1): string {
  const path = join(MADE, name);
  const frames = Math.round(seconds * 44_100);
  if (existsSync(path) && statSync(path).size === 44 + frames * 4) return path;
  const bytes = Buffer.alloc(44 + frames * 4);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(36 + frames * 4, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(2, 22);
  bytes.writeUInt32LE(44_100, 24);
  bytes.writeUInt32LE(176_400, 28);
  bytes.writeUInt16LE(4, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36);
  bytes.writeUInt32LE(frames * 4, 40);
  for (let n = 0; n < frames; n += 1) {
    const beat = Math.exp(-((n % 22_050) / 3000));
    const left = 0.2 * Math.sin((2 * Math.PI * (110 * seed) * n) / 44_100) + 0.3 * beat * Math.sin((2 * Math.PI * 55 * n) / 44_100);
    const right = 0.2 * Math.sin((2 * Math.PI * (165 * seed) * n) / 44_100) + 0.3 * beat * Math.sin((2 * Math.PI * 55 * n) / 44_100);
    bytes.writeInt16LE(Math.round(left * 20_000), 44 + n * 4);
    bytes.writeInt16LE(Math.round(right * 20_000), 46 + n * 4);
  }
  return made(name, bytes);
}

/** What went wrong on pages, whatever the test looks at. */
export class Watch {
  readonly wrong: string[] = [];
  readonly elsewhere: string[] = [];
  /** Console lines that the test itself provokes. */
  readonly expected: RegExp[] = [];

  constructor(private readonly base: string) {}

  on(context: BrowserContext): void {
    context.on("page", (page) => this.page(page));
  }

  page(page: Page): void {
    page.on("console", (message) => {
      if (message.type() === "error" && !this.expected.some((known) => known.test(message.text()))) this.wrong.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.wrong.push(`${page.url()}: ${error}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (!/^(data|blob|about):$/.test(url.protocol) && url.hostname !== new URL(this.base).hostname) this.elsewhere.push(request.url());
    });
  }
}

/** Every test fails on a console error, a page error, a CSP violation (which is one of the two), and a request to anybody else. */
export const test = base.extend<{ watch: Watch }>({
  watch: [
    async ({ context, baseURL }, use) => {
      const watch = new Watch(baseURL ?? "");
      watch.on(context);
      await use(watch);
      expect(watch.elsewhere, "requests to third parties").toEqual([]);
      expect(watch.wrong, "errors on the pages").toEqual([]);
    },
    { auto: true },
  ],
});

/** No violation of WCAG 2.2 AA that axe can see, once colours have come to rest: a change of scheme fades backgrounds for 120 ms. */
export async function accessible(page: Page): Promise<void> {
  await page.evaluate(async () => {
    const ending = document.getAnimations().filter((animation) => Number.isFinite(animation.effect?.getComputedTiming().endTime));
    await Promise.allSettled(ending.map((animation) => animation.finished));
  });
  const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(" | ")}`)).toEqual([]);
}

/** Nothing sticks out sideways. */
export async function fits(page: Page): Promise<void> {
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
}

export async function drop(page: Page, files: string | string[]): Promise<void> {
  await page.locator("lm-upload .tracks").waitFor({ state: "attached" });
  await page.locator("#files").setInputFiles(files);
}

/** Drops a file and waits for its master. */
export async function master(page: Page, file = song(), style?: string): Promise<void> {
  await page.goto("/");
  await drop(page, file);
  if (style) await page.getByRole("radio", { name: style }).press("Space");
  await mastered(page);
}

/** Masters what was dropped, and waits for it. */
async function mastered(page: Page): Promise<void> {
  await page.getByRole("button", { name: /^Master / }).click();
  await page.waitForURL(/\/m\/mst_/, { timeout: 60_000 });
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 120_000 });
}

/** The newest mail to an address; mails are files in MAIL_FOLDER. */
export async function mail(to: string, since: number): Promise<string> {
  const folder = process.env.MAIL_FOLDER;
  if (!folder) throw new Error("MAIL_FOLDER: where the stack puts its mails");
  for (let n = 0; n < 100; n += 1) {
    const mails = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)).filter((path) => statSync(path).mtimeMs >= since) : [];
    const found = mails.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs).map((path) => decoded(readFileSync(path, "utf8"))).find((text) => text.includes(to));
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`no mail to ${to} in ${folder}`);
}

/** Quoted-printable and base64 bodies as text. */
function decoded(text: string): string {
  const plain = text.replace(/=\r?\n/g, "").replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  const coded = /Content-Transfer-Encoding: base64\r?\n(?:[\w-]+:.*\r?\n)*\r?\n([A-Za-z0-9+/=\r\n]+)/i.exec(text)?.[1];
  return coded ? `${plain}\n${Buffer.from(coded, "base64").toString("utf8")}` : plain;
}

let people = 0;

/** Signs in by code from the sign-in page the page is on. */
export async function signIn(page: Page, email = `visitor-${Date.now()}-${(people += 1)}@example.com`): Promise<string> {
  const since = Date.now() - 1000;
  if (!page.url().includes("/sign-in")) await page.goto("/sign-in");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("I am 13 or older").check();
  await page.getByRole("button", { name: "Send me a code" }).click();
  await expect(page.getByLabel("Six-digit code")).toBeVisible();
  const code = /\b(\d{3}[ \u202f]?\d{3})\b/.exec(await mail(email, since))?.[1]?.replace(/\D/g, "") ?? "";
  await page.getByLabel("Six-digit code").fill(code);
  await page.getByRole("button", { name: "Sign in" }).click();
  return email;
}

/** Counts finished PUTs, and makes each take a while, so that there is a middle to be killed in. */
export async function slowed(page: Page, ms: number): Promise<{ puts: number }> {
  const count = { puts: 0 };
  await page.route((url) => !url.pathname.startsWith("/assets/"), async (route) => {
    if (route.request().method() !== "PUT") return route.fallback();
    await new Promise((resolve) => setTimeout(resolve, ms));
    await route.continue().catch(() => undefined);
    return undefined;
  });
  page.on("requestfinished", (request) => {
    if (request.method() === "PUT") count.puts += 1;
  });
  return count;
}

/** The checksums of the files of the master a page shows. */
async function checksums(page: Page): Promise<string[]> {
  const id = /mst_\w+/.exec(page.url())?.[0] ?? "";
  const { artifacts } = (await (await page.request.get(new URL(`/v1/masters/${id}`, page.url()).href)).json()) as { artifacts: { kind: string; role: string; sha256: string }[] };
  return artifacts.filter(({ kind }) => kind === "master").map(({ role, sha256 }) => `${role} ${sha256}`).sort();
}

/** Closes the tab when this share of the parts is there; only the others are sent then, and the master is that of an upload in one go. */
export async function killAndResume(page: Page, share: number): Promise<void> {
  const file = wav("long.wav", 360); // 63 MB
  const count = await slowed(page, 250);
  const created = page.waitForResponse((response) => response.url().endsWith("/v1/uploads") && response.request().method() === "POST");
  await page.goto("/");
  await drop(page, file);
  const { parts } = (await (await created).json()) as { parts: number };
  expect(parts, "more than one part").toBeGreaterThan(4);
  const enough = Math.max(1, Math.floor(parts * share));
  await expect.poll(() => count.puts, { timeout: 60_000, intervals: [20] }).toBeGreaterThanOrEqual(enough);
  await page.close({ runBeforeUnload: false });
  const before = count.puts;

  const again = await page.context().newPage();
  const after = await slowed(again, 0);
  await again.goto("/");
  // It says how much is there; that only the rest is sent is counted below.
  await expect(again.getByText("are already here")).toBeVisible();
  const chooser = again.waitForEvent("filechooser");
  await again.getByRole("button", { name: /^Choose the file/ }).click();
  await (await chooser).setFiles(file);
  await expect(again.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
  expect(after.puts, "only missing parts").toBeLessThanOrEqual(parts - before);
  expect(after.puts).toBeGreaterThan(0);
  await mastered(again);

  const elsewhere = await page.context().browser()?.newContext({ baseURL: new URL(again.url()).origin });
  const whole = (await elsewhere?.newPage()) as Page;
  await master(whole, file);
  const [resumed, inOneGo] = [await checksums(again), await checksums(whole)];
  expect(resumed.length).toBeGreaterThan(2);
  expect(resumed, "the same master").toEqual(inOneGo);
  await elsewhere?.close();
}

export { expect };
