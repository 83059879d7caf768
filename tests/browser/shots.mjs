// Pictures of every page at phone and desktop width, light and dark, to be looked at:  node shots.mjs URL FOLDER [name…]
import { chromium } from "@playwright/test";
import { mkdirSync } from "node:fs";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PAGES = { home: "/", master: "/m/x", running: "/m/x?as=running", failed: "/m/x?as=failed", library: "/library", batch: "/b/x", account: "/account", "sign-in": "/sign-in", code: "/sign-in-code", merge: "/sign-in-merge", link: "/l/x", share: "/s/x", privacy: "/privacy", "privacy-earlier": "/privacy-earlier", "policy-changed": "/policy-changed", security: "/security", confirm: "/confirm", "confirm-guest": "/confirm-guest", "confirm-elsewhere": "/confirm-elsewhere", "confirm-done": "/confirm-done", "confirm-expired": "/confirm-expired", terms: "/terms", contact: "/contact", status: "/status", api: "/api", nothing: "/nothing", away: "/away" };
const [base, folder, ...only] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
for (const [size, width, height] of [["phone", 390, 844], ["desktop", 1280, 900]]) {
  for (const scheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: size === "phone" ? 2 : 1 });
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && console.log(`${size} ${page.url()}: ${message.text()}`));
    page.on("pageerror", (error) => console.log(`${size} ${page.url()}: ${error}`));
    for (const [name, path] of Object.entries(PAGES)) {
      if (only.length > 0 && !only.includes(name)) continue;
      if (only.length === 0 && scheme === "dark" && !["home", "master", "library", "account"].includes(name)) continue;
      await page.goto(base + path);
      await page.waitForTimeout(name === "master" || name === "share" ? 500 : 150);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) console.log(`${size} ${name}: ${wide} px too wide`);
      await page.screenshot({ path: `${folder}/${name}-${size}-${scheme}.png`, fullPage: true });
    }
    await context.close();
  }
}
await browser.close();
