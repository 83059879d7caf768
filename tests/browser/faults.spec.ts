// Faults that people met, each as it was met.

import { drop, expect, master, slowed, song, test, wav } from "./kit";

test("the library draws the waveform of every finished song, on a phone as well", async ({ page }) => {
  await master(page);
  for (const viewport of [{ width: 1280, height: 900 }, { width: 390, height: 844 }]) {
    await page.setViewportSize(viewport);
    await page.goto("/library");
    const wave = page.locator("tr[data-state=done] canvas[data-wave]").first();
    await expect(wave).toBeVisible();
    await expect(wave).toHaveAttribute("data-drawn", "");
    const coloured = await wave.evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((_, n) => n % 4 === 3 && data[n]! > 0).length / (data.length / 4);
    });
    expect(coloured, "share of the picture that is drawn").toBeGreaterThan(0.1);
  }
});

test("versions of a song are told apart on a phone, and are no more tracks of the batch", async ({ page }) => {
  await page.goto("/");
  await drop(page, [wav("v-one.wav", 4, 1), wav("v-two.wav", 4, 2)]);
  await page.getByRole("button", { name: /^Master .*2/ }).click();
  await page.waitForURL(/\/b\//);
  await expect(page.locator("tr[data-state=done]")).toHaveCount(2, { timeout: 120_000 });
  const batch = page.url();
  await page.locator("tr[data-state=done] th a").first().click();
  await page.waitForURL(/\/m\//);
  const first = page.url();
  await page.locator(".another").getByRole("button", { name: "Warm", exact: true }).click();
  await page.waitForURL((url) => url.href !== first && url.pathname.startsWith("/m/"));
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 120_000 });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(batch);
  await expect(page.locator(".facts")).toContainText("2 tracks");
  await expect(page.locator("tr.version")).toHaveCount(1);
  await expect(page.locator("tr.version td.style")).toBeVisible();
  const styles = await page.locator("td.style").allInnerTexts();
  expect(new Set(styles).size, styles.join(", ")).toBe(2);
});

test("the meter of a batch moves with its rows", async ({ page }) => {
  await page.goto("/");
  await drop(page, [1, 2, 3, 4].map((n) => wav(`meter-${n}.wav`, 6, n)));
  await page.getByRole("button", { name: /^Master .*4/ }).click();
  await page.waitForURL(/\/b\//);
  // As long as somebody is at work in the table the page is not drawn again; what the events say stands there all the same.
  await page.locator("tr[data-id] input").first().check({ timeout: 60_000 });
  await expect(page.locator("tr[data-state=done]")).toHaveCount(4, { timeout: 120_000 });
  await expect(page.locator("[data-meter-said]")).toHaveText("4 of 4 done");
  await expect(page.locator("[data-meter] progress")).toHaveJSProperty("value", 4);
  for (const text of await page.locator("[data-lufs]").allInnerTexts()) expect(text).toMatch(/LUFS/);
  for (const text of await page.locator("[data-length]").allInnerTexts()) expect(text).toBe("0:06");
});

test("addresses that have had their time are asked for again", async ({ page, watch }) => {
  watch.expected.push(/status of 403/);
  await master(page);
  // What was on the page is refused from now on, as the storage does after a quarter of an hour.
  const old = new Set(await page.evaluate(() => {
    const player = document.querySelector<HTMLElement>("lm-player")!;
    return [player.dataset.mix ?? "", player.dataset.master ?? ""];
  }));
  let refused = 0;
  await page.route((url) => old.has(url.href), (route) => {
    refused += 1;
    return route.fulfill({ status: 403, headers: { "access-control-allow-origin": "*" } });
  });
  await page.waitForTimeout(1100); // signatures name the second
  await page.locator("body").press("Space");
  await expect(page.locator("lm-player .now")).not.toHaveText(/^0:0[01]$/);
  await expect(page.locator("lm-player .said")).toHaveText("");
  expect(refused).toBeGreaterThan(0);
});

test("a report that is opened after an hour opens", async ({ page, watch }) => {
  watch.expected.push(/status of 403/);
  await page.clock.install();
  await master(page);
  const link = page.getByRole("link", { name: "Full report" });
  const old = await link.getAttribute("href");
  await page.route((url) => url.href === new URL(old ?? "", page.url()).href, (route) => route.fulfill({ status: 403, contentType: "application/xml", body: "<Error><Code>AccessDenied</Code></Error>" }));
  await page.waitForTimeout(1100); // signatures name the second
  await page.clock.runFor("20:00");
  await link.click();
  await page.waitForURL((url) => !url.pathname.startsWith("/m/"));
  await expect(page.getByText("AccessDenied")).toHaveCount(0);
  await expect(page.locator("body")).toContainText("LUFS");
});

test("while bytes move the page does not say that it is offline", async ({ page, context, watch }) => {
  watch.expected.push(/net::ERR/);
  await page.goto("/");
  const cdp = await context.newCDPSession(page);
  const network = (offline: boolean, up: number): Promise<unknown> => cdp.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput: up });
  await network(false, 1_000_000);
  const sent = page.waitForRequest((request) => request.method() === "PUT");
  await drop(page, wav("again.wav", 360, 4)); // 63 MB, a minute at this speed
  await sent;
  await page.waitForTimeout(1000);
  await network(true, -1);
  await expect(page.getByText("You are offline.")).toBeVisible();
  await network(false, 400_000);
  // A part takes 80 s at this speed: the words must not wait for it.
  await expect(page.locator(".track .speed")).toBeVisible({ timeout: 15_000 });
  await expect(page.getByText("You are offline.")).toHaveCount(0);
  await network(false, -1);
});

test("a pause throws nothing away, and a reload says what is there", async ({ page }) => {
  await page.goto("/");
  const count = await slowed(page, 700);
  const begun: string[] = [];
  page.on("request", (request) => request.method() === "PUT" && begun.push(request.url()));
  await drop(page, wav("pause.wav", 360, 5));
  await expect.poll(() => begun.length, { intervals: [20] }).toBeGreaterThanOrEqual(4);
  await page.getByRole("button", { name: /^Pause/ }).click();
  await expect(page.getByText(/^Paused at/)).toBeVisible();
  await expect.poll(() => count.puts, { message: "every part that was begun is there", timeout: 2000 }).toBe(begun.length);
  const before = begun.length;
  await page.waitForTimeout(1000);
  expect(begun.length, "and no other is begun").toBe(before);
  await page.reload();
  await expect(page.getByText(/Choose the file again to resume\. \d+.MB of \d+.MB are already here\./)).toBeVisible();
  await expect(page.getByRole("progressbar", { name: /Sent of/ })).toBeVisible();
});

test("one reference at a time, and none that is hidden takes the focus", async ({ page }) => {
  await page.goto("/");
  await page.locator("#reference").setInputFiles(song());
  await expect(page.locator("[data-reference] .chosen")).toHaveCount(1);
  await expect(page.locator("#reference")).toBeHidden();
  await page.locator("#reference").setInputFiles(song(1));
  await expect(page.locator("[data-reference] .chosen")).toHaveCount(1);
  await expect(page.locator("[data-reference] .chosen")).toContainText(song(1).split("/").at(-1) ?? "");
  await page.locator("[data-reference]").getByRole("button", { name: "Remove" }).click();
  await expect(page.locator("#reference")).toBeFocused();
});

test("another master names its reference and can do without it", async ({ page }) => {
  await page.goto("/");
  await page.locator("#reference").setInputFiles(song(1));
  await drop(page, song());
  await page.getByRole("button", { name: "Master this track" }).click();
  await page.waitForURL(/\/m\//, { timeout: 60_000 });
  await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 120_000 });
  const box = page.getByLabel(/Follow the same reference/);
  await expect(box).toBeChecked();
  await expect(page.locator(".another")).toContainText(song(1).split("/").at(-1) ?? "");
  await box.uncheck();
  const first = page.url();
  const sent = page.waitForRequest((request) => request.url().endsWith("/rerun"));
  await page.locator(".another").getByRole("button", { name: "Open", exact: true }).click();
  expect((await sent).postDataJSON()).toHaveProperty("reference_upload", null);
  await page.waitForURL((url) => url.href !== first);
});

test("what programs are told does not reach the page", async ({ page, watch }) => {
  watch.expected.push(/status of 4/);
  await page.route("**/v1/contact", (route) => route.fulfill({ status: 422, contentType: "application/problem+json", body: '{"code":"request.email","detail":"email: cannot be; wait 33603 s"}' }));
  await page.goto("/contact");
  await page.getByLabel("Your email").fill("a@example.com");
  await page.getByLabel("Message").fill("Hello");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("alert")).toHaveText("That is not an email address.");
});

test("a form that needs a fresh sign-in keeps what was typed", async ({ page, watch }) => {
  watch.expected.push(/status of 403/);
  await page.route("**/v1/contact", (route) => route.fulfill({ status: 403, contentType: "application/problem+json", body: '{"code":"auth.recent_sign_in_required","detail":"x"}' }));
  await page.goto("/contact");
  await page.getByLabel("Your email").fill("a@example.com");
  await page.getByLabel("Message").fill("Nothing of this may be lost.");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("link", { name: "Sign in in a new tab" })).toBeVisible();
  await expect(page.getByLabel("Message")).toHaveValue("Nothing of this may be lost.");
});
