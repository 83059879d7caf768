// Signing in by code, by the link in a new tab, and by the link in another browser.

import { expect, mail, signIn, test } from "./kit";

const link = (text: string): string => /https?:\/\/\S+?(\/l\/[\w-]+)/.exec(text)?.[1] ?? "";

test("a wrong code is refused, the right one signs in, and signing out ends it", async ({ page, watch }) => {
  watch.expected.push(/status of 4\d\d/);
  const email = `code-${Date.now()}@example.com`;
  const since = Date.now() - 1000;
  await page.goto("/sign-in");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("I am 13 or older").check();
  await page.getByRole("button", { name: "Send me a code" }).click();
  const code = /\b(\d{3}[ \u202f]?\d{3})\b/.exec(await mail(email, since))?.[1]?.replace(/\D/g, "") ?? "";
  await page.getByLabel("Six-digit code").fill(code === "000000" ? "000001" : "000000");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("Six-digit code").fill(code);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/library/);
  await page.goto("/account");
  await expect(page.getByText(email).first()).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill("Nora");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Saved")).toBeVisible();
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await expect(page.getByRole("link", { name: "Sign in" })).toBeVisible();
});

test("the link in a new tab lets the waiting tab go on by itself", async ({ page, context }) => {
  const email = `link-${Date.now()}@example.com`;
  const since = Date.now() - 1000;
  await page.goto("/sign-in?next=/account");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("I am 13 or older").check();
  await page.getByRole("button", { name: "Send me a code" }).click();
  const tab = await context.newPage();
  await tab.goto(link(await mail(email, since)));
  await tab.getByRole("button", { name: "Sign in" }).click();
  await expect(tab.getByText("You are signed in")).toBeVisible();
  await page.bringToFront();
  await page.waitForURL(/\/account/);
});

test("the link in another browser shows the address and signs in only there", async ({ page, browser, baseURL }) => {
  const email = `other-${Date.now()}@example.com`;
  const since = Date.now() - 1000;
  await page.goto("/sign-in");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("I am 13 or older").check();
  await page.getByRole("button", { name: "Send me a code" }).click();
  const elsewhere = await browser.newContext(baseURL ? { baseURL } : {});
  const tab = await elsewhere.newPage();
  await tab.goto(link(await mail(email, since)));
  await expect(tab.getByText(email)).toBeVisible();
  await expect(tab.getByText("another browser or app")).toBeVisible();
  await tab.getByRole("button", { name: "Sign in" }).click();
  await expect(tab.getByText("You are signed in")).toBeVisible();
  await page.goto("/library");
  await expect(page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Sign in" })).toBeVisible();
  await elsewhere.close();
});

test("a token is shown once and can be removed", async ({ page }) => {
  await page.goto("/sign-in?next=/account");
  await signIn(page);
  await page.waitForURL(/\/account/);
  await page.getByText("New token").click();
  await page.getByLabel("Token name").fill("a test");
  await page.getByRole("button", { name: "Create token" }).click();
  await expect(page.locator(".secret")).toContainText("lmt_");
  await page.reload();
  await expect(page.locator(".secret")).toHaveCount(0);
  await page.getByRole("button", { name: "Remove token a test" }).click();
  await expect(page.getByText("a test")).toHaveCount(0);
});

test("Google signs in and leads back to where the visitor was going", async ({ page }) => {
  // A certified provider stands in for Google; whom it signs in stands in the address.
  await page.route(/:\d+\/auth\?/, (route) => {
    const url = new URL(route.request().url());
    url.searchParams.set("login_hint", `nora-${Date.now()}`);
    return route.continue({ url: url.href });
  });
  await page.goto("/sign-in?next=/account");
  await page.getByRole("button", { name: "Continue with Google" }).click();
  await page.waitForURL(/\/account$/);
  await expect(page.getByText("nora@example.com").first()).toBeVisible();
});
