// The player's promise: what is decoded from the middle of a file is, sample for sample, what the whole file decodes to.

import { buildSync } from "esbuild";
import { drop, expect, test, wav } from "./kit";

declare global {
  interface Window {
    player: { Preview: new (remote: object, samples: number) => { stretch(start: number, length: number): Promise<Uint8Array<ArrayBuffer> | null> }; Remote: new (url: string) => object };
  }
}

test("stretches join without a seam, from any place", async ({ page }) => {
  const script = buildSync({ stdin: { contents: 'import { Preview, Remote } from "./source"; window.player = { Preview, Remote };', resolveDir: "../../edge/web/src/player", loader: "ts" }, bundle: true, write: false, format: "iife", target: "es2022" }).outputFiles[0]?.text ?? "";
  await page.route("**/stretches", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>Stretches</title><link rel=icon href=data:,><script src=/stretches.js></script>" }));
  await page.route("**/stretches.js", (route) => route.fulfill({ contentType: "text/javascript", body: script }));
  await page.goto("/stretches");
  const worst = await page.evaluate(async () => {
    const context = new OfflineAudioContext(2, 1, 48_000);
    const whole = await context.decodeAudioData(await (await fetch("/demo/master.opus")).arrayBuffer());
    const found: { start: number; length: number; difference: number; late: number }[] = [];
    for (const start of [0, 48_000, 100_003, 144_000, 240_000, 288_001]) {
      // A fresh one each time: the place is found without knowing the file.
      const preview = new window.player.Preview(new window.player.Remote("/demo/master.opus"), whole.length);
      const bytes = await preview.stretch(start, 48_000);
      if (!bytes) throw new Error(`nothing at ${start}`);
      const part = await context.decodeAudioData(bytes.buffer);
      const length = Math.min(part.length, 48_000, whole.length - start);
      let difference = 0;
      let late = 0; // the last sample that differs audibly
      for (let channel = 0; channel < 2; channel += 1) {
        const [a, b] = [whole.getChannelData(channel), part.getChannelData(channel)];
        for (let n = 0; n < length; n += 1) {
          const apart = Math.abs((a[start + n] ?? 0) - (b[n] ?? 0));
          difference = Math.max(difference, apart);
          if (apart > 1e-3) late = n;
        }
      }
      found.push({ start, length, difference, late });
    }
    return found;
  });
  for (const { start, length, difference, late } of worst) {
    console.log(`from ${start}: ${length} samples, largest difference ${difference.toExponential(1)}, the last audible at ${late}`);
    expect(length).toBeGreaterThanOrEqual(46_000);
    // A decoder that starts 80 ms earlier has settled to far below what 16 bits can say: 2^-15 is 3e-5.
    expect(difference).toBeLessThan(1e-3);
  }
});

test("a long mix is heard before its files are ready, and plays on when they are", async ({ page }) => {
  await page.goto("/");
  await drop(page, wav("heard-early.wav", 200, 3));
  await page.getByRole("button", { name: /^Master / }).click();
  await page.waitForURL(/\/m\/mst_/, { timeout: 60_000 });
  const player = page.locator("lm-player");
  await expect(page.locator("lm-job[data-state=running] lm-player .play")).toBeVisible({ timeout: 80_000 });
  expect(await player.getAttribute("data-excerpt")).toMatch(/^\d+0\.000 40\.000$|^0\.000 40\.000$/);
  await page.locator("body").press("Space");
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await expect(player).not.toHaveAttribute("data-waiting");
  // A place that the excerpt does not hold is waited for.
  await player.evaluate((element: HTMLElement & { seek(to: number): void; mine?: boolean }) => {
    element.mine = true;
    const start = Number(element.dataset.excerpt?.split(" ")[0]);
    element.seek(start >= 100 ? 20 : 180);
  });
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 80_000 });
  // The same player, not a new one; it has the whole song now, and plays.
  expect(await player.evaluate((element: HTMLElement & { mine?: boolean }) => element.mine)).toBe(true);
  expect(await player.getAttribute("data-excerpt")).toBeNull();
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await expect(player).not.toHaveAttribute("data-waiting");
  const at = await page.locator("lm-player .now").textContent();
  await expect(page.locator("lm-player .now")).not.toHaveText(at ?? "");
  // Its waveform and its findings are those of the page that is there now.
  await page.locator("body").press("Space");
  await expect(page.getByRole("button", { name: "Play" })).toBeVisible();
});
