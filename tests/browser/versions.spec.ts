// Several masters of one song: ordered at once, heard side by side, and one of them picked.

import { accessible, expect, fits, master, test } from "./kit";

test("three directions are made at once, compared in one player, and one is picked", async ({ page }) => {
  test.setTimeout(180_000);
  await master(page);
  const address = page.url();
  await expect(page.getByRole("button", { name: /^Compare/ })).toHaveCount(0);
  await page.getByText("Several at once").click();
  const make = page.locator("[data-make]");
  await expect(make).toBeDisabled();
  await expect(page.locator("[data-cost]")).toHaveText(/^Each counts as one track; you can master \d+ more tracks today\.$/);
  // From the keyboard: two styles.
  await page.getByRole("checkbox", { name: "Warm" }).press("Space");
  await page.getByRole("checkbox", { name: "Open" }).press("Space");
  await expect(page.locator("[data-cost]")).toHaveText(/^Two masters count as 2 tracks; you can master \d+ more tracks today\.$/);
  // Surprise chooses three, and no more can be ticked.
  await page.getByRole("button", { name: /^Surprise me/ }).click();
  await expect(make).toHaveText("Make 3 masters");
  await expect(page.locator("form.several input:checked")).toHaveCount(3);
  await expect(page.locator("form.several input:disabled")).toHaveCount(2);
  for (const style of ["Warm", "Open", "Punchy", "Loud", "Gentle"]) {
    const box = page.getByRole("checkbox", { name: style });
    if (await box.isChecked()) await box.press("Space");
  }
  for (const style of ["Warm", "Loud"]) await page.getByRole("checkbox", { name: style }).press("Space");
  const player = page.locator("lm-player");
  await player.evaluate((element: HTMLElement & { mine?: boolean }) => (element.mine = true));
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await make.click();
  // The page stays and shows how they get on; the music goes on.
  await expect(page.locator(".versions li")).toHaveCount(3);
  expect(page.url()).toBe(address);
  await expect(page.locator(".versions li [aria-current=page]")).toHaveCount(1);
  await expect(page.getByRole("button", { name: "Compare 3 versions" })).toBeVisible({ timeout: 120_000 });
  await expect(page.locator(".versions [data-version]")).toHaveCount(0);
  expect(await player.evaluate((element: HTMLElement & { mine?: boolean }) => element.mine)).toBe(true);

  await page.getByRole("button", { name: "Compare 3 versions" }).click();
  const sides = page.getByRole("group", { name: "What you hear" }).getByRole("button");
  await expect(sides).toHaveCount(4);
  await expect(sides.nth(0)).toHaveText(/1\s+Mix/);
  await expect(sides.nth(1)).toHaveText(/2\s+Balanced\s+−\d+\.\d\s+LUFS/);
  const names = await sides.allTextContents();
  expect(names.slice(2).map((name) => name.replace(/\s+/g, " ").trim().split(" ")[1]).sort()).toEqual(["Loud", "Warm"]);
  // Keys: every side in its turn, the music and its place stay.
  const before = await page.locator(".seek").inputValue();
  for (const [n, key] of ["1", "2", "3", "4"].entries()) {
    await page.locator("body").press(key);
    await expect(sides.nth(n)).toHaveAttribute("aria-pressed", "true");
  }
  expect(Math.abs(Number(await page.locator(".seek").inputValue()) - Number(before))).toBeLessThan(7);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
      await page.setViewportSize(viewport);
      await fits(page);
      await accessible(page);
      for (const side of await sides.all()) {
        const box = (await side.boundingBox())!;
        expect(box.height).toBeGreaterThanOrEqual(44);
        expect(box.x + box.width).toBeLessThanOrEqual(viewport.width);
      }
    }
  }
  // The blind test is between the two that were heard last.
  await page.getByRole("button", { name: "Blind test" }).click();
  await expect(page.getByRole("button", { name: /^X is 3, (Warm|Loud) −/ })).toBeVisible();
  await expect(page.getByRole("button", { name: /^X is 4, (Warm|Loud) −/ })).toBeVisible();
  await page.getByRole("button", { name: "Blind test" }).click();
  // Picking one leads to its page, where it can be taken.
  await page.locator("body").press("4");
  const wanted = (await sides.nth(3).textContent())!.includes("Warm") ? "Warm" : "Loud";
  await page.getByRole("link", { name: /^Pick this one/ }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/m/mst_") && url.href !== address);
  await expect(page.locator(".facts")).toContainText(wanted);
  await expect(page.getByRole("link", { name: /^Download the master/ })).toBeVisible();
});

test("versions that are compared are equally loud", async ({ page }) => {
  test.setTimeout(120_000);
  await master(page);
  const made = await page.evaluate(async () => {
    const id = /mst_\w+/.exec(location.pathname)?.[0] ?? "";
    const answer = await fetch(`/v1/masters/${id}/rerun`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ settings: { style: "gentle", loudness: { lufs: -20 } } }) });
    return ((await answer.json()) as { id: string }).id;
  });
  await expect.poll(async () => ((await (await page.request.get(`/v1/masters/${made}`)).json()) as { state: string }).state, { timeout: 60_000 }).toBe("done");
  await page.reload();
  await page.getByRole("button", { name: "Compare 2 versions" }).click();
  await page.getByRole("button", { name: "Play", exact: true }).click();
  const sides = page.getByRole("group", { name: "What you hear" }).getByRole("button");
  await expect(sides).toHaveCount(3);
  type Inside = HTMLElement & { engine: { level(side: string): number; voices: Map<string, { louder: number }> } };
  const heard = await page.locator("lm-player").evaluate((element) => {
    const { engine } = element as Inside;
    return [...engine.voices].map(([side, { louder }]) => louder + 20 * Math.log10(engine.level(side)));
  });
  expect(heard).toHaveLength(3);
  for (const level of heard) expect(level).toBeCloseTo(heard[0]!, 6);
  // Nothing is turned up, and not matched nothing is turned down.
  const levels = (): Promise<number[]> => page.locator("lm-player").evaluate((element) => [...(element as Inside).engine.voices.keys()].map((side) => (element as Inside).engine.level(side)));
  expect(Math.max(...(await levels()))).toBeCloseTo(1, 6);
  await page.getByLabel("Levels matched").uncheck();
  expect(await levels()).toEqual([1, 1, 1]);
  await page.getByRole("button", { name: "Compare 2 versions" }).click();
  await expect(sides).toHaveCount(2);
});

test("without script the versions are links", async ({ browser, page, baseURL }) => {
  test.setTimeout(120_000);
  await master(page);
  await page.getByRole("button", { name: "Warm", exact: true }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/m/mst_"));
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 60_000 });
  const plain = await browser.newContext({ baseURL, javaScriptEnabled: false, storageState: await page.context().storageState() });
  const still = await plain.newPage();
  await still.goto(page.url());
  await expect(still.locator(".versions a")).toHaveCount(2);
  await expect(still.getByText("Several at once")).toBeHidden();
  await still.locator(".versions a:not([aria-current])").click();
  await expect(still.locator("h1")).toBeVisible();
  await plain.close();
});
