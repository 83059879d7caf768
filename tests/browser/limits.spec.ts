// Limits are said before they bite, and nothing is stuck behind them.

import { accessible, drop, expect, fits, test, wav } from "./kit";
import type { Page } from "@playwright/test";

/** What the service says of its limits; the stack of the tests has none worth the name. */
async function allowance(page: Page, quotas: { used: number }, limit = 20): Promise<void> {
  await page.route("**/v1/me", (route) => route.fulfill({ json: { quotas: { tracks_a_day: { limit, used: quotas.used }, waiting: { limit: 20, used: 0 } } } }));
}

const files = (count: number, name: string): string[] => Array.from({ length: count }, (_, n) => wav(`${name}-${n + 1}.wav`, 4, 1 + n / 10));

test("what does not fit today is said at the drop, waits, and begins by itself", async ({ page }) => {
  await page.clock.install();
  const quotas = { used: 18 };
  await allowance(page, quotas);
  await page.goto("/");
  await drop(page, files(4, "limit"));
  const notice = page.locator("[data-limit]");
  await expect(notice).toContainText("There are 20 free tracks a day. 2 of these 4 fit now. The other 2 start by themselves, the last at about");
  await expect(notice.getByRole("link", { name: "Sign in to master all 4" })).toHaveAttribute("href", "/sign-in?next=/");
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);

  const asked: number[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/v1/masters")) asked.push((request.postDataJSON() as { uploads: string[] }).uploads.length);
  });
  await expect(page.getByText("Uploaded", { exact: true })).toHaveCount(4);
  await page.getByRole("button", { name: /^Master 4/ }).click();
  await expect(page.locator(".track.made")).toHaveCount(2, { timeout: 60_000 });
  await expect(page.getByText(/Uploaded, starts at about \d\d:\d\d/)).toHaveCount(2);
  await expect(notice.getByRole("link", { name: "See those under way" })).toBeVisible();
  expect(asked.reduce((sum, n) => sum + n, 0), "no more than fit were asked for").toBe(2);

  quotas.used = 0;
  await page.clock.fastForward("01:05");
  await page.waitForURL(/\/b\/bat_/, { timeout: 60_000 });
  expect(asked.reduce((sum, n) => sum + n, 0)).toBe(4);
});

test("a refusal for want of room leaves no queue stuck", async ({ page, watch }) => {
  watch.expected.push(/status of 429/);
  await page.clock.install();
  let refuse = 1;
  await page.route("**/v1/masters", (route) => {
    if (refuse <= 0) return route.fallback();
    refuse -= 1;
    return route.fulfill({ status: 429, headers: { "retry-after": "30" }, contentType: "application/problem+json", body: '{"code":"rate.exceeded","rule":"tracks","detail":"more than 20 tracks in a day; wait 33603 s"}' });
  });
  await page.goto("/");
  await drop(page, files(2, "refused"));
  await expect(page.getByText("Uploaded", { exact: true })).toHaveCount(2);
  await page.getByRole("button", { name: /^Master 2/ }).click();
  await expect(page.getByText(/starts at about/).first()).toBeVisible();
  await expect(page.getByText("33603")).toHaveCount(0);
  await page.clock.fastForward("01:05");
  await page.waitForURL(/\/b\/bat_/, { timeout: 60_000 });
});

test("an album that is longer than a day's allowance is said before it is sent to mastering", async ({ page }) => {
  await allowance(page, { used: 0 }, 2);
  await page.goto("/");
  await drop(page, files(3, "album"));
  await page.getByLabel(/One album/).check();
  await expect(page.locator("[data-limit]")).toContainText("This album has 3 tracks, and there are 2 free tracks a day.");
  await expect(page.getByRole("link", { name: "Sign in to master all 3" })).toBeVisible();
});

test("a reference is waited for, however early the button is pressed", async ({ page }) => {
  await page.goto("/");
  const bodies: { settings?: unknown }[] = [];
  await page.route("**/v1/limits", async (route) => {
    // The button is pressed before the upload is made.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  page.on("request", (request) => request.method() === "POST" && request.url().endsWith("/v1/uploads") && bodies.push(request.postDataJSON() as { settings?: unknown }));
  await page.locator("#reference").setInputFiles(wav("ref.wav", 5, 2));
  await drop(page, wav("early.wav", 5, 3));
  const sent = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/v1/masters"));
  await page.getByRole("button", { name: "Master this track" }).click();
  expect((await sent).postDataJSON()).toHaveProperty("reference_upload");
  for (const body of bodies) expect(body, "not mastered without it").not.toHaveProperty("settings");
});
