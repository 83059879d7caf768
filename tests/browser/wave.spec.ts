// One waveform everywhere: in the queue before anything has arrived, in the player, in what is shared.

import { accessible, drop, expect, master, slowed, song, test, wav } from "./kit";
import type { Locator } from "@playwright/test";

/** Share of a canvas that is drawn, and how much of that in a colour of the page. */
const drawn = (canvas: Locator, name = "master"): Promise<{ any: number; coloured: number }> =>
  canvas.evaluate((element: HTMLCanvasElement, name) => {
    const probe = document.createElement("canvas").getContext("2d")!;
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    probe.fillRect(0, 0, 1, 1);
    const want = probe.getImageData(0, 0, 1, 1).data;
    const { data } = element.getContext("2d")!.getImageData(0, 0, element.width, element.height);
    let [any, coloured] = [0, 0];
    for (let n = 0; n < data.length; n += 4) {
      if (data[n + 3]! < 40) continue;
      any += 1;
      if (data[n + 3]! > 200 && [0, 1, 2].every((c) => Math.abs(data[n + c]! - want[c]!) < 8)) coloured += 1;
    }
    return { any: any / (data.length / 4), coloured: coloured / Math.max(any, 1) };
  }, name);

test("a file is drawn at its drop, before anything of it has arrived, and can be heard in the queue", async ({ page }) => {
  const count = await slowed(page, 4000);
  await page.goto("/");
  for (const file of [wav("drawn.wav", 120, 2), song(1)]) {
    const rows = await page.locator(".track canvas").count();
    await page.locator("#files").setInputFiles(file);
    await expect(page.locator(".track")).toHaveCount(rows + 1);
    const begun = Date.now();
    await expect(page.locator(".track").last().locator("canvas[data-drawn]")).toBeVisible({ timeout: 4000 });
    // Within a second on a machine that has nothing else to do.
    console.log(`${file.split("/").at(-1)}: drawn ${Date.now() - begun} ms after its row`);
    expect(count.puts, "nothing has arrived yet").toBe(0);
    expect((await drawn(page.locator(".track canvas").last())).any).toBeGreaterThan(0.1);
  }
  await page.getByRole("button", { name: "Play drawn.wav" }).click();
  await expect(page.getByRole("button", { name: "Pause drawn.wav" })).toBeVisible();
  await expect.poll(() => page.locator(".track .needle").first().evaluate((head: HTMLElement) => parseFloat(head.style.left) > 0)).toBe(true);
  // One at a time.
  await page.getByRole("button", { name: /^Play .*flac/ }).click();
  await expect(page.getByRole("button", { name: "Play drawn.wav" })).toBeVisible();
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  await accessible(page);
});

test("small waveforms follow the light and the width of the screen", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto("/");
  await drop(page, wav("light.wav", 5, 3));
  const canvas = page.locator("canvas[data-drawn]");
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible();
  await expect.poll(async () => (await drawn(canvas, "mix")).coloured).toBeGreaterThan(0.5);
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(async () => (await drawn(canvas, "mix")).coloured, { message: "in the colour of the dark page" }).toBeGreaterThan(0.5);
  await page.setViewportSize({ width: 390, height: 844 });
  await expect.poll(() => canvas.evaluate((element: HTMLCanvasElement) => element.width === Math.round(element.clientWidth * devicePixelRatio))).toBe(true);
});

test("what cannot be drawn is mastered all the same", async ({ page }) => {
  await page.addInitScript(() => {
    Object.defineProperty(window, "OfflineAudioContext", { value: class { decodeAudioData(): never { throw new Error("no"); } } });
  });
  await page.goto("/");
  await drop(page, song());
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible();
  await expect(page.locator(".track canvas")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Master this track" })).toBeVisible();
});

test("the player draws what is heard as a body, and switching turns one into the other", async ({ page }) => {
  await master(page);
  const canvas = page.locator("lm-player canvas");
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await page.keyboard.press("End");
  await expect.poll(async () => (await drawn(canvas, "master")).coloured).toBeGreaterThan(0.1);
  const master_ = await drawn(canvas, "master");
  const [before] = [await drawn(canvas, "mix")];
  await page.locator("body").press("a");
  await expect.poll(async () => (await drawn(canvas, "mix")).coloured).toBeGreaterThan(before.coloured + 0.05);
  expect((await drawn(canvas, "master")).coloured, "the other side is an outline").toBeLessThan(master_.coloured);

  // Zoom: less of the song, and a click goes to what is seen.
  await page.getByRole("button", { name: "Zoom in" }).click();
  await page.getByRole("button", { name: "Zoom in" }).click();
  await expect(page.getByRole("button", { name: "Zoom out" })).toBeEnabled();
  await page.locator("body").press("Space");
  const at = await page.locator(".seek").inputValue();
  const box = (await page.locator(".waves").boundingBox())!;
  await page.mouse.click(box.x + box.width * 0.5, box.y + 60);
  const there = Number(await page.locator(".seek").inputValue());
  expect(Math.abs(there - Number(at)), "a quarter of seven seconds is seen").toBeLessThan(1.8);
  // The slider speaks the time it stands at.
  await page.locator(".seek").focus();
  await page.keyboard.press("Home");
  await expect(page.locator(".seek")).toHaveAttribute("aria-valuetext", /^0:00 of/);
});

test("before anybody listens nothing is drawn as played", async ({ page }) => {
  await master(page);
  const canvas = page.locator("lm-player canvas");
  await expect.poll(async () => (await drawn(canvas)).any).toBeGreaterThan(0.1);
  expect((await drawn(canvas)).coloured, "full colour is for what was heard").toBeLessThan(0.05);
});
