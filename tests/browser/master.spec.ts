// From the drop to the download, with the sign-in on the way.

import { accessible, drop, expect, fits, made, master, signIn, song, test, wav } from "./kit";

test("a mix becomes a master that is heard, seen and downloaded after signing in", async ({ page, context, watch }) => {
  watch.expected.push(/status of 401/);
  await page.goto("/");
  await drop(page, song());
  await page.getByRole("radio", { name: "Warm" }).press("Space");
  await page.getByRole("button", { name: "Master this track" }).click();
  await page.waitForURL(/\/m\//);
  await expect(page.locator(".stages li")).toHaveCount(6);
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 120_000 });
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);
  await page.setViewportSize({ width: 1280, height: 900 });

  // Heard: both sides at the same place, matched.
  await page.locator("body").press("Space");
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await expect(page.locator("lm-player .now")).not.toHaveText("0:00");
  await page.locator("body").press("a");
  await expect(page.locator(".side.mix")).toHaveAttribute("aria-pressed", "true");
  await page.locator("body").press("b");
  await expect(page.locator(".side.master")).toHaveAttribute("aria-pressed", "true");
  await expect(page.getByLabel(/Levels matched/)).toBeChecked();
  await page.getByRole("button", { name: "Blind test" }).click();
  await page.getByRole("button", { name: "X is A, the mix" }).click();
  await expect(page.getByRole("region", { name: "Blind test" })).toContainText("of 1 right");
  await page.getByRole("button", { name: "Blind test" }).click();
  await page.locator("body").press("Space");

  // Seen: three curves as tabs.
  for (const name of ["Spectrum", "Loudness", "Gain reduction"]) {
    await page.getByRole("tab", { name }).click();
    await expect(page.getByRole("tabpanel", { name }).locator("svg.plot")).toBeVisible();
  }

  // Downloaded: the wish waits through the sign-in and then starts by itself.
  await page.getByRole("link", { name: "WAV 24" }).click();
  await page.waitForURL(/\/sign-in/);
  await signIn(page);
  await expect(page.getByText("As a guest you mastered")).toBeVisible();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: /^Move 1 track/ }).click();
  expect((await download).suggestedFilename()).toMatch(/\.wav$/);
  await page.waitForURL(/\/m\//);
  expect(await page.evaluate(() => sessionStorage.getItem("lm.pending"))).toBeNull();

  // The library has it, and deleting can be undone.
  await page.goto("/library");
  await accessible(page);
  const row = page.locator("tr[data-id]").first();
  await row.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(row).toBeHidden();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(row).toBeVisible();
  await page.goto("/account");
  await accessible(page);

  // What the browser keeps is what the privacy page says, and nothing else.
  await page.goto("/privacy");
  const listed = await page.locator("tr[data-stored]").evaluateAll((rows) => rows.map((line) => (line as HTMLElement).dataset.stored ?? ""));
  const kept = await page.evaluate(async () => [...Object.keys(localStorage), ...Object.keys(sessionStorage), ...(await indexedDB.databases()).map((db) => db.name ?? "")]);
  for (const name of [...kept, ...(await context.cookies()).map((cookie) => cookie.name)]) expect(listed).toContain(name);
});

test("a ZIP that a guest asks for comes after signing in", async ({ page, watch }) => {
  watch.expected.push(/status of 401/);
  await page.goto("/");
  await drop(page, [wav("one.wav", 4, 1), wav("two.wav", 4, 2)]);
  await page.getByRole("button", { name: /^Master .*2/ }).click();
  await page.waitForURL(/\/b\//);
  await page.getByRole("button", { name: "Download ZIP" }).click({ timeout: 120_000 });
  await page.waitForURL(/\/sign-in/);
  await signIn(page);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: /^Move 2 tracks/ }).click();
  expect((await download).suggestedFilename()).toMatch(/\.zip$/);
  expect(await page.evaluate(() => sessionStorage.getItem("lm.pending"))).toBeNull();
});

test("another style takes no other upload", async ({ page }) => {
  await master(page);
  const uploads: string[] = [];
  page.on("request", (request) => request.method() === "PUT" && uploads.push(request.url()));
  const first = page.url();
  await page.locator(".another").getByRole("button", { name: "Open", exact: true }).click();
  await page.waitForURL((url) => url.href !== first);
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 120_000 });
  expect(uploads).toEqual([]);
});

test("what is not music is refused with a reason", async ({ page }) => {
  await page.goto("/");
  await drop(page, [made("empty.wav", ""), made("invoice.pdf", "%PDF-1.7 nothing to hear")]);
  await expect(page.getByText("0 bytes; export it again.")).toBeVisible();
  await expect(page.getByText("This is application/pdf, not audio")).toBeVisible();
  await accessible(page);
});

test("a renamed document fails as a job, with advice", async ({ page }) => {
  await page.goto("/");
  await drop(page, made("renamed.wav", `%PDF-1.7 ${"nothing to hear ".repeat(4000)}`));
  await page.getByRole("button", { name: "Master this track" }).click();
  await page.waitForURL(/\/m\//);
  await expect(page.getByText("could not be mastered")).toBeVisible({ timeout: 60_000 });
  await expect(page.locator(".failure code")).toContainText("decode.");
  await accessible(page);
});

test("the same file twice is one upload", async ({ page }) => {
  await page.goto("/");
  const file = wav("twice.wav", 3);
  await drop(page, file);
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible();
  await drop(page, file);
  await expect(page.getByText("already in the list")).toBeVisible();
});
