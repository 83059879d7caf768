// What the page is outside of itself: an app that can be installed, keys of a lock screen, an icon that fills, a word when it is done.

import { drop, expect, master, slowed, song, test, wav } from "./kit";

test("it can be installed, and takes the files it is opened with", async ({ page, context }) => {
  const name = "opened with.wav";
  await page.addInitScript(() => {
    const launch = window as unknown as { launchQueue: object; opened: (params: object) => void };
    Object.defineProperty(window, "launchQueue", { value: { setConsumer: (take: (params: object) => void) => (launch.opened = take) } });
  });
  await page.goto("/");
  const cdp = await context.newCDPSession(page);
  const { errors, data } = await cdp.send("Page.getAppManifest");
  expect(errors).toEqual([]);
  const manifest = JSON.parse(data ?? "{}") as { icons: { src: string; type: string; sizes: string; purpose?: string }[]; display: string; start_url: string };
  expect(manifest.display).toBe("standalone");
  expect(manifest.icons.map((icon) => icon.purpose)).toContain("maskable");
  for (const icon of manifest.icons) {
    const answer = await page.request.get(new URL(icon.src, page.url()).href);
    expect(answer.headers()["content-type"]).toBe(icon.type);
    if (icon.type !== "image/png") continue;
    const bytes = await answer.body();
    expect(`${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`).toBe(icon.sizes);
  }
  const { installabilityErrors } = await cdp.send("Page.getInstallabilityErrors");
  // A test's window is a private one.
  expect(installabilityErrors.map((error) => error.errorId).filter((id) => id !== "in-incognito")).toEqual([]);

  await page.locator("lm-upload .tracks").waitFor({ state: "attached" });
  await page.evaluate((name) => {
    const file = new File([new Uint8Array(5000)], name, { type: "audio/wav" });
    (window as unknown as { opened: (params: object) => void }).opened({ files: [{ kind: "file", name, getFile: () => Promise.resolve(file) }] });
  }, name);
  await expect(page.locator(".track .name")).toHaveText(name);
});

test("keys of headphones and lock screens play, pause, seek and switch sides", async ({ page }) => {
  await page.addInitScript(() => {
    const keys: Record<string, (details: object) => void> = {};
    Object.assign(window, { keys });
    const set = navigator.mediaSession.setActionHandler.bind(navigator.mediaSession);
    navigator.mediaSession.setActionHandler = (action, does) => {
      keys[action] = does as (details: object) => void;
      set(action, does);
    };
  });
  await master(page);
  const press = (action: string, details: object = {}): Promise<void> => page.evaluate(([action, details]) => (window as unknown as { keys: Record<string, (details: object) => void> }).keys[action as string]?.(details as object), [action, details] as const);
  const session = (): Promise<{ title?: string; artist?: string; state: string }> => page.evaluate(() => ({ title: navigator.mediaSession.metadata?.title, artist: navigator.mediaSession.metadata?.artist, state: navigator.mediaSession.playbackState }));
  expect((await session()).title, "nothing before the first sound").toBeUndefined();
  await page.getByRole("button", { name: "Play", exact: true }).click();
  const title = (await page.locator("h1").textContent()) ?? "";
  await expect.poll(session).toEqual({ title, artist: "Master", state: "playing" });
  await press("nexttrack");
  await expect(page.locator(".side.mix")).toHaveAttribute("aria-pressed", "true");
  await expect.poll(async () => (await session()).artist).toBe("Mix");
  await press("pause");
  await expect(page.getByRole("button", { name: "Play", exact: true })).toBeVisible();
  await expect.poll(async () => (await session()).state).toBe("paused");
  await press("seekto", { seekTime: 2 });
  await expect(page.locator(".seek")).toHaveAttribute("aria-valuetext", /^0:02 of/);
  await press("play");
  await expect(page.getByRole("button", { name: "Pause", exact: true })).toBeVisible();
});

test("the icon fills while files are sent, and is itself again afterwards", async ({ page }) => {
  await slowed(page, 600);
  await page.goto("/");
  const icon = page.locator("link[rel=icon]");
  await drop(page, wav("icon.wav", 120, 6));
  await expect(icon).toHaveAttribute("href", /^data:image\/svg/);
  await expect(page.getByText("Uploaded", { exact: true })).toBeVisible({ timeout: 60_000 });
  await expect(icon).toHaveAttribute("href", /favicon\.svg$/);
});

test("who asks for it is told when a master is ready, and nobody else", async ({ page }) => {
  await page.addInitScript(() => {
    const told: string[] = [];
    class Fake {
      static permission = "default";
      static requestPermission(): Promise<string> {
        Fake.permission = "granted";
        return Promise.resolve("granted");
      }
      constructor(title: string, { body }: { body: string }) {
        told.push(`${title}: ${body}`);
      }
      close(): void {}
    }
    Object.assign(window, { told, Notification: Fake });
  });
  await page.goto("/");
  await drop(page, wav("notice.wav", 150, 7));
  await page.getByRole("button", { name: "Master this track" }).click();
  await page.waitForURL(/\/m\//, { timeout: 60_000 });
  await page.getByRole("button", { name: "Tell me when it is ready" }).click();
  await expect(page.getByText("Your browser will tell you.")).toBeVisible();
  // Somebody who looks at the page sees it.
  await page.evaluate(() => Object.defineProperty(document, "hidden", { value: true }));
  await expect(page.locator("lm-job[data-state=done]")).toBeAttached({ timeout: 120_000 });
  expect(await page.evaluate(() => (window as unknown as { told: string[] }).told)).toEqual(["notice: The master is ready."]);
});
