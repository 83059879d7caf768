// Uploads that survive. The kill points 30 and 95 % are in the long set.

import { drop, expect, killAndResume, slowed, song, test, wav } from "./kit";

test("a tab that is killed at 60 % goes on where it was", async ({ page }) => {
  await killAndResume(page, 0.6);
});

test("another file is not taken for the one that is missing", async ({ page }) => {
  const file = wav("mine.wav", 120);
  await slowed(page, 400);
  await page.goto("/");
  await drop(page, file);
  await expect.poll(() => page.evaluate(() => localStorage.getItem("lm.uploads"))).not.toBeNull();
  await page.close();
  const again = await page.context().newPage();
  await again.goto("/");
  const chooser = again.waitForEvent("filechooser");
  await again.getByRole("button", { name: /^Choose the file/ }).click();
  await (await chooser).setFiles(song());
  await expect(again.getByText("That is not the same file")).toBeVisible();
});

test("the service may be away; the queue waits and goes on", async ({ page, watch }) => {
  watch.expected.push(/status of 503/, /net::ERR/);
  let away = true;
  await page.route(/\/v1\/(uploads|masters|batches)/, (route) => (away ? route.fulfill({ status: 503, headers: { "retry-after": "0" }, contentType: "application/problem+json", body: '{"code":"service.away","detail":"away"}' }) : route.continue()));
  await page.goto("/");
  await drop(page, song(1));
  await expect(page.getByText("The service does not answer. Retrying")).toBeVisible();
  away = false;
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
});

test("a refused signature is asked for again", async ({ page, watch }) => {
  watch.expected.push(/status of 403/);
  let refused = 0;
  await page.route((url) => !url.pathname.startsWith("/v1/"), async (route) => {
    if (route.request().method() !== "PUT" || refused > 1) return route.fallback();
    refused += 1;
    return route.fulfill({ status: 403, headers: { "access-control-allow-origin": "*" } });
  });
  await page.goto("/");
  await drop(page, song(2));
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
  expect(refused).toBe(2);
});

test("storage edited by hand, full or switched off does no harm", async ({ page }) => {
  await page.goto("/");
  for (const odd of ["not json", "[1,null,{}]", '[{"id":"upl_../../me","fingerprint":"x","name":"x","bytes":1,"modified":1,"at":1}]', '{"id":1}']) {
    await page.evaluate((text) => {
      localStorage.setItem("lm.uploads", text);
      localStorage.setItem("lm.latest", text);
      sessionStorage.setItem("lm.pending", text);
    }, odd);
    await page.reload();
    await expect(page.locator(".tracks li")).toHaveCount(0);
  }
  await page.addInitScript(() => {
    const no = (): never => {
      throw new DOMException("no", "QuotaExceededError");
    };
    Storage.prototype.setItem = no;
    Object.defineProperty(window, "indexedDB", { get: no });
  });
  await page.reload();
  await drop(page, song(3));
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
});

test("two tabs with one file send it once", async ({ page, context }) => {
  const file = wav("both.wav", 150, 2);
  const count = await slowed(page, 300);
  await page.goto("/");
  const other = await context.newPage();
  const there = await slowed(other, 0);
  await other.goto("/");
  await drop(page, file);
  await expect(page.getByRole("progressbar", { name: /Sent of/ })).toBeVisible();
  await drop(other, file);
  await expect(other.getByText("Another tab is sending this file")).toBeVisible();
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
  expect(there.puts).toBe(0);
  expect(count.puts).toBeGreaterThan(1);
});
