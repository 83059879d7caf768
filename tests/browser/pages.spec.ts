// What holds for every page: axe, console, third parties, width, keyboard; and the budget of the first one.

import { gzipSync } from "node:zlib";
import { accessible, expect, fits, test } from "./kit";

const PAGES = ["/", "/library", "/sign-in", "/privacy", "/terms", "/contact", "/status", "/api", "/nothing-here", "/m/mst_0", "/s/lmh_0", "/l/lml_0"];

for (const path of PAGES) {
  test(`${path} is accessible, quiet and fits`, async ({ page, watch }) => {
    watch.expected.push(/status of 404/);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
        await page.setViewportSize(viewport);
        await page.goto(path);
        await fits(page);
      }
      await accessible(page);
    }
  });
}

test("the first load of the home page is small", async ({ page, baseURL }) => {
  const loads: { url: string; bytes: number }[] = [];
  page.on("response", async (response) => {
    const body = await response.body().catch(() => Buffer.alloc(0));
    const url = response.url();
    loads.push({ url, bytes: /\.(css|js|svg)$|\/$/.test(url) ? gzipSync(body).length : body.length });
  });
  await page.goto("/");
  await page.waitForLoadState("networkidle");
  const bytes = loads.reduce((sum, load) => sum + load.bytes, 0);
  console.log(`home: ${bytes} bytes gzip in ${loads.length} requests`);
  expect(loads.length, loads.map((load) => load.url).join("\n")).toBeLessThanOrEqual(8);
  expect(bytes, loads.map((load) => `${load.bytes} ${load.url}`).join("\n")).toBeLessThanOrEqual(60_000);
  for (const load of loads) expect(load.url.startsWith(baseURL ?? "")).toBe(true);
});

test("the demo plays mix and master without an upload", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Play mix and master" }).click();
  await expect(page.locator("lm-demo").getByRole("button", { name: "Pause" })).toBeVisible();
  await expect(page.locator("lm-demo .now")).not.toHaveText("0:00");
  await page.locator("lm-demo").getByRole("button", { name: /Mix/ }).click();
  await expect(page.locator("lm-demo .side.mix")).toHaveAttribute("aria-pressed", "true");
});

test("without script the pages can be read", async ({ browser, baseURL }) => {
  const context = await browser.newContext({ javaScriptEnabled: false, ...(baseURL ? { baseURL } : {}) });
  const page = await context.newPage();
  await page.goto("/");
  await expect(page.locator("noscript .notice")).toBeVisible();
  await expect(page.locator("lm-demo audio")).toHaveCount(2);
  for (const name of ["Privacy", "Contact us", "Terms", "Status", "API"]) {
    await page.getByRole("navigation", { name: "About" }).getByRole("link", { name }).click();
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  }
  await page.goto("/sign-in");
  await expect(page.getByRole("button", { name: "Send me a code" })).toBeVisible();
  await context.close();
});

test("the keyboard alone reaches and works the form", async ({ page }) => {
  await page.goto("/");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Enter");
  for (let n = 0; n < 12; n += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => (document.activeElement as HTMLInputElement | null)?.name === "style")) break;
  }
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("radio", { name: "Warm" })).toBeChecked();
  await expect(page.locator("[data-style-note]")).toContainText("Fuller lows");
});

test("contact takes a message", async ({ page }) => {
  await page.goto("/contact?topic=copyright");
  await page.getByLabel("Your email").fill("rights@example.com");
  await page.getByLabel("Message").fill("The track at this link is mine.");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByText("Your ticket is")).toBeVisible();
});
