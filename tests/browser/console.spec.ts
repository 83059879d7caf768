// The page of a master: everything within reach, the figures at a glance, the rest folded.

import { accessible, expect, fits, master, test } from "./kit";

test("play, A/B and download are within reach of a thumb wherever the page stands", async ({ page, watch }) => {
  watch.expected.push(/status of 401/);
  await page.setViewportSize({ width: 390, height: 844 });
  await master(page);
  await fits(page);
  for (const place of ["top", "bottom"]) {
    await page.evaluate((place) => scrollTo(0, place === "top" ? 0 : document.documentElement.scrollHeight), place);
    for (const control of [page.getByRole("button", { name: "Play", exact: true }), page.getByRole("group", { name: "What you hear" }), page.getByRole("link", { name: /^Download the master/ })]) {
      const box = (await control.boundingBox())!;
      expect(box.y, place).toBeGreaterThan(844 - 90);
      expect(box.y + box.height).toBeLessThanOrEqual(844);
      expect(box.height).toBeGreaterThanOrEqual(44);
    }
  }
  // The last line of the page is not under it.
  const last = (await page.getByRole("link", { name: "API" }).boundingBox())!;
  const bar = (await page.locator("lm-player .bar").boundingBox())!;
  expect(last.y + last.height).toBeLessThanOrEqual(bar.y);
  await page.getByRole("link", { name: /^Download the master/ }).click();
  await page.waitForURL(/\/sign-in/);
});

test("one primary button, four figures, one sentence, and the rest folded", async ({ page }) => {
  await master(page);
  await expect(page.locator("main .button.primary:visible")).toHaveCount(1);
  await expect(page.locator("main .button.primary:visible")).toHaveText(/^Download/);
  await expect(page.locator(".story")).toHaveText(/^(\d+\.\d.dB (louder|quieter)|As loud as your mix), with \d+\.\d.dB of punch left and peaks at −\d+\.\d.dBTP\.$/);
  await expect(page.locator(".numbers > div")).toHaveCount(4);
  await expect(page.locator(".numbers dd").first()).toHaveText(/−\d+\.\d to {1,2}→ −\d+\.\d.LUFS/);
  const stages = page.locator("details.progress");
  await expect(stages.locator("summary")).toHaveText(/^Mastered in \d+\.\d.s · verified$/);
  await expect(stages.locator("li").first()).toBeHidden();
  await stages.locator("summary").click();
  await expect(stages.locator("li")).toHaveCount(6);
  await expect(stages.locator("li").first()).toBeVisible();
  for (const group of await page.locator(".reasons > li").all()) expect(await group.locator("div > p").count()).toBeLessThanOrEqual(2);
});

test("every state of the console is accessible, light and dark, phone and desktop", async ({ page, watch }) => {
  watch.expected.push(/status of 404/);
  await master(page);
  const share = await page.evaluate(async () => ((await (await fetch(`/v1/masters/${/mst_\w+/.exec(location.pathname)?.[0]}/shares`, { method: "POST" })).json()) as { url: string }).url);
  const address = page.url();
  const looks = async (): Promise<void> => {
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
        await page.setViewportSize(viewport);
        await fits(page);
        await accessible(page);
      }
    }
  };
  await looks();
  await page.getByRole("button", { name: "Blind test" }).click();
  await page.getByText("With other settings").click();
  await looks();
  await page.goto(new URL(share, address).href);
  await expect(page.getByRole("button", { name: "Play", exact: true })).toBeVisible();
  await looks();
  await page.goto("/library");
  await page.getByLabel("Select all").check();
  await looks();
});

test("the share page stands still while it loads", async ({ page, watch }) => {
  watch.expected.push(/status of 404/);
  await master(page);
  const share = await page.evaluate(async () => ((await (await fetch(`/v1/masters/${/mst_\w+/.exec(location.pathname)?.[0]}/shares`, { method: "POST" })).json()) as { url: string }).url);
  for (const url of [page.url(), new URL(share, page.url()).href]) {
    await page.addInitScript(() => {
      (window as unknown as { shifted: number }).shifted = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries() as unknown as { value: number; hadRecentInput: boolean }[]) if (!entry.hadRecentInput) (window as unknown as { shifted: number }).shifted += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
    });
    for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
      await page.setViewportSize(viewport);
      await page.goto(url);
      await page.waitForLoadState("networkidle");
      await page.waitForTimeout(500);
      const shifted = await page.evaluate(() => (window as unknown as { shifted: number }).shifted);
      console.log(`${new URL(url).pathname.slice(0, 3)} ${viewport.width}: CLS ${shifted.toFixed(3)}`);
      expect(shifted).toBeLessThanOrEqual(0.02);
    }
  }
});
