// Handles of chosen files, which Chrome and related browsers hand out: how an upload goes on after a reload without choosing again. The
// picker cannot be driven without a screen; it is replaced, and what it gives are real handles, of the origin's own file system.

import type { Page } from "@playwright/test";
import { expect, slowed, test } from "./kit";

const SECONDS = 150; // 26 MB: four parts
const NAME = "night drive.wav";

/** Writes a WAV into the origin's file system, once, and makes the picker give its handle. */
async function picker(page: Page): Promise<void> {
  await page.addInitScript(
    ({ name, seconds }) => {
      const handle = async (): Promise<FileSystemFileHandle> => {
        const folder = await navigator.storage.getDirectory();
        const there = await folder.getFileHandle(name).catch(() => null);
        if (there) return there;
        const frames = seconds * 44_100;
        const view = new DataView(new ArrayBuffer(44 + frames * 4));
        const text = (at: number, word: string): void => [...word].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
        text(0, "RIFF");
        view.setUint32(4, 36 + frames * 4, true);
        text(8, "WAVEfmt ");
        view.setUint32(16, 16, true);
        view.setUint16(20, 1, true);
        view.setUint16(22, 2, true);
        view.setUint32(24, 44_100, true);
        view.setUint32(28, 176_400, true);
        view.setUint16(32, 4, true);
        view.setUint16(34, 16, true);
        text(36, "data");
        view.setUint32(40, frames * 4, true);
        for (let n = 0; n < frames; n += 1) {
          const beat = Math.exp(-((n % 22_050) / 3000));
          const value = Math.round(6000 * Math.sin((2 * Math.PI * 110 * n) / 44_100) + 8000 * beat * Math.sin((2 * Math.PI * 55 * n) / 44_100));
          view.setInt16(44 + n * 4, value, true);
          view.setInt16(46 + n * 4, value, true);
        }
        const made = await folder.getFileHandle(name, { create: true });
        const writable = await made.createWritable();
        await writable.write(view.buffer);
        await writable.close();
        return made;
      };
      Object.assign(window, { showOpenFilePicker: async () => [await handle()] });
    },
    { name: NAME, seconds: SECONDS },
  );
}

/** What the database of handles holds: upload → name of the file it opens. */
async function handles(page: Page): Promise<Record<string, string>> {
  return page.evaluate(async () => {
    const db = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open("lm", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("handles");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const store = db.transaction("handles").objectStore("handles");
    const all = <T>(request: IDBRequest<T>): Promise<T> => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const [keys, values] = await Promise.all([all(store.getAllKeys()), all(store.getAll())]);
    db.close();
    const names = await Promise.all((values as FileSystemFileHandle[]).map(async (handle) => (handle instanceof FileSystemFileHandle ? (await handle.getFile()).name : "not a handle")));
    return Object.fromEntries(keys.map((key, n) => [String(key), names[n] ?? ""]));
  });
}

const records = (page: Page): Promise<string[]> => page.evaluate(() => (JSON.parse(localStorage.getItem("lm.uploads") ?? "[]") as { id: string }[]).map(({ id }) => id));

/** Picks the file; gives the upload's id once it is written down with its handle. */
async function begin(page: Page): Promise<string> {
  const created = page.waitForResponse((response) => response.url().endsWith("/v1/uploads") && response.request().method() === "POST");
  await page.goto("/");
  await page.locator("lm-upload .tracks").waitFor({ state: "attached" });
  await page.locator("label.button[for=files]").click();
  const { id, parts } = (await (await created).json()) as { id: string; parts: number };
  expect(parts).toBeGreaterThan(2);
  await expect.poll(() => handles(page), { message: "kept while the upload runs" }).toEqual({ [id]: NAME });
  expect(await records(page)).toEqual([id]);
  return id;
}

test("a handle is kept while the upload runs, opens the file again after a reload, and goes when all of it has arrived", async ({ page }) => {
  await picker(page);
  const before = await slowed(page, 400);
  const id = await begin(page);
  await expect.poll(() => before.puts, { intervals: [20] }).toBeGreaterThanOrEqual(1);
  await page.close({ runBeforeUnload: false });

  const again = await page.context().newPage();
  await picker(again);
  const after = await slowed(again, 300);
  const asked = again.waitForRequest((request) => request.url().endsWith(`/v1/uploads/${id}/complete`));
  await again.goto("/");
  // Nobody clicks anything: the handle opens the file, and only what is missing is sent.
  await expect(again.getByRole("progressbar", { name: /Sent of/ })).toBeVisible();
  expect(await handles(again)).toEqual({ [id]: NAME });
  await asked;
  await expect(again.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
  expect(before.puts + after.puts, "no part twice but those cut off").toBeLessThanOrEqual(4 + 4);
  expect(after.puts).toBeLessThanOrEqual(3);
  await expect.poll(() => handles(again), { message: "all of it has arrived" }).toEqual({});

  // What is to be mastered is still remembered; with the master that goes, too.
  expect(await records(again)).toEqual([id]);
  await again.getByRole("button", { name: /^Master / }).click();
  await again.waitForURL(/\/m\/mst_/, { timeout: 60_000 });
  expect(await records(again)).toEqual([]);
  expect(await handles(again)).toEqual({});
});

test("a handle goes when its upload is removed from the list", async ({ page }) => {
  await picker(page);
  await slowed(page, 500);
  await begin(page);
  await page.getByRole("button", { name: /^Remove/ }).first().click();
  await expect(page.locator(".tracks li")).toHaveCount(0);
  await expect.poll(() => handles(page)).toEqual({});
  expect(await records(page)).toEqual([]);
});

test("a handle goes when its upload has been given up elsewhere", async ({ page }) => {
  await picker(page);
  await slowed(page, 500);
  const id = await begin(page);
  await page.close({ runBeforeUnload: false });
  const again = await page.context().newPage();
  // As another device, or the service after its days, would end it.
  const origin = new URL(test.info().project.use.baseURL ?? "").origin;
  expect((await again.request.delete(`${origin}/v1/uploads/${id}`, { headers: { origin } })).status()).toBeLessThan(300);
  await again.goto("/");
  await expect(again.getByText("This upload has expired")).toBeVisible();
  await expect.poll(() => handles(again)).toEqual({});
  expect(await records(again)).toEqual([]);
});

test("what has expired in the browser goes on the next visit, whichever page it is", async ({ page }) => {
  await picker(page);
  await slowed(page, 500);
  const id = await begin(page);
  const age = (days: number): Promise<void> =>
    page.evaluate((ms) => {
      const all = JSON.parse(localStorage.getItem("lm.uploads") ?? "[]") as { at: number }[];
      for (const record of all) record.at = Date.now() - ms;
      localStorage.setItem("lm.uploads", JSON.stringify(all));
      localStorage.setItem("lm.latest", JSON.stringify({ path: "/m/mst_1", title: "x", at: Date.now() - ms }));
      sessionStorage.setItem("lm.pending", JSON.stringify({ artifact: "art_1", name: "x", at: Date.now() - 59 * 60_000 }));
    }, days * 86_400_000);
  const left = (): Promise<(string | null)[]> => page.evaluate(() => [localStorage.getItem("lm.uploads"), localStorage.getItem("lm.latest"), sessionStorage.getItem("lm.pending")]);

  await page.goto("/terms");
  await age(6.9);
  await page.reload();
  expect(await handles(page)).toEqual({ [id]: NAME });
  expect(await records(page)).toEqual([id]);
  for (const kept of await left()) expect(kept).not.toBeNull();

  await age(7.1);
  await page.evaluate(() => sessionStorage.setItem("lm.pending", JSON.stringify({ artifact: "art_1", name: "x", at: Date.now() - 61 * 60_000 })));
  await page.reload();
  await expect.poll(() => handles(page)).toEqual({});
  expect(await left()).toEqual([null, null, null]);
});
