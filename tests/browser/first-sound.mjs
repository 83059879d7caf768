// How long until a visitor hears the master:  node first-sound.mjs URL FILE [RUNS]
// Seconds from the last byte of the upload, and from a click on another style, to the first sample that the browser plays. Prints one
// line of JSON per run; whoever reads it compares two programs in one run of the machine.
import { chromium } from "@playwright/test";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"];
const [base, file, runs = "3"] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

/** Presses Play as soon as there is something to play, and notes when the first sample sounds. */
function press() {
  const start = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function (when = 0, ...rest) {
    window.heard ??= Date.now() + Math.max(0, when - this.context.currentTime) * 1000;
    return start.call(this, when, ...rest);
  };
  let pressed = false;
  setInterval(() => {
    const player = document.querySelector("lm-player");
    if (pressed || !player?.dataset.master || typeof player.play !== "function" || !location.pathname.startsWith("/m/")) return;
    pressed = true;
    player.play();
  }, 20);
}

for (let run = 0; run < Number(runs); run += 1) {
  const context = await browser.newContext();
  await context.addInitScript(press);
  const page = await context.newPage();
  let sent = 0;
  page.on("requestfinished", (request) => request.method() === "PUT" && (sent = Date.now()));
  await page.goto(base);
  await page.locator("lm-upload .tracks").waitFor({ state: "attached" });
  await page.locator("#files").setInputFiles(file);
  await page.getByRole("button", { name: /^Master / }).click();
  await page.waitForURL(/\/m\/mst_/, { timeout: 120_000 });
  const first = await page.waitForFunction(() => window.heard, undefined, { timeout: 120_000 });
  const heard = await first.jsonValue();
  await page.locator("lm-job[data-state=done]").waitFor({ timeout: 120_000 });
  const done = Date.now();

  const style = page.locator("form.pills button[name=style]").first();
  const [here, clicked] = [page.url(), Date.now()];
  await style.click();
  await page.waitForURL((url) => url.href !== here, { timeout: 60_000, waitUntil: "commit" });
  const again = await (await page.waitForFunction(() => window.heard, undefined, { timeout: 120_000 })).jsonValue();
  await page.locator("lm-job[data-state=done]").waitFor({ timeout: 120_000 });
  const seconds = (to, from) => Number(((to - from) / 1000).toFixed(2));
  console.log(JSON.stringify({ first_sound: seconds(heard, sent), all_files: seconds(done, sent), other_style: seconds(again, clicked), other_files: seconds(Date.now(), clicked) }));
  await context.close();
}
await browser.close();
