// Presets and tags: settings under a name in the account, and what the files say about themselves.

import { accessible, drop, expect, fits, master, signIn, song, test } from "./kit";

test("settings are saved under a name, chosen for the next song, and deleted", async ({ page, watch }) => {
  test.setTimeout(120_000);
  watch.expected.push(/status of 422/);
  await page.goto("/sign-in?next=/");
  await signIn(page);
  await page.waitForURL((url) => url.pathname === "/");
  await page.getByRole("radio", { name: "Warm" }).check({ force: true });
  await page.getByLabel("Loudness", { exact: true }).first().selectOption("custom");
  await page.getByLabel("Loudness in LUFS").fill("−13");
  await page.getByText("Artist, album, year").click();
  await page.getByLabel("Artist", { exact: true }).fill("Ana & Söhne");
  await page.getByText("your settings under a name").click();
  await expect(page.getByLabel("Use a preset")).toBeDisabled();
  const name = page.getByLabel("Save the settings below as");
  await name.fill("-wrong");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await expect(page.locator("[data-preset-said]")).toContainText("beginning with a letter or a digit");
  await name.fill("Für Klub 2.1");
  await name.press("Enter");
  await expect(page.locator("[data-preset-said]")).toContainText("“Für Klub 2.1” is saved.");
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
      await page.setViewportSize(viewport);
      await fits(page);
      await accessible(page);
    }
  }

  await page.reload();
  await expect(page.getByRole("radio", { name: "Balanced" })).toBeChecked();
  await page.getByText("your settings under a name").click();
  await page.getByLabel("Use a preset").selectOption("Für Klub 2.1");
  await expect(page.getByRole("radio", { name: "Warm" })).toBeChecked();
  await expect(page.getByLabel("Loudness in LUFS")).toHaveValue("-13");
  await drop(page, song());
  await page.getByRole("button", { name: /^Master / }).click();
  await page.waitForURL(/\/m\/mst_/, { timeout: 60_000 });
  const id = /mst_\w+/.exec(page.url())?.[0] ?? "";
  const { settings } = (await (await page.request.get(`/v1/masters/${id}`)).json()) as { settings: Record<string, unknown> };
  expect(settings).toMatchObject({ style: "warm", loudness: { lufs: -13 }, tags: { artist: "Ana & Söhne" } });

  await page.goto("/account");
  const line = page.locator("li", { hasText: "Für Klub 2.1" });
  await fits(page);
  await accessible(page);
  await line.getByRole("button", { name: /^Delete/ }).click();
  await expect(line).toHaveCount(0);
  expect(((await (await page.request.get("/v1/presets")).json()) as { items: unknown[] }).items).toEqual([]);
});

test("a song gets its title and ISRC with another version, and gives up what is emptied", async ({ page }) => {
  test.setTimeout(120_000);
  await master(page);
  const order = async (): Promise<Record<string, unknown>> => {
    const before = page.url();
    await page.getByRole("button", { name: "Master again" }).click();
    await page.waitForURL((url) => url.pathname.startsWith("/m/mst_") && url.href !== before);
    await expect(page.locator("lm-job[data-state=done]")).toBeVisible({ timeout: 60_000 });
    const id = /mst_\w+/.exec(page.url())?.[0] ?? "";
    return ((await (await page.request.get(`/v1/masters/${id}`)).json()) as { settings: { tags: Record<string, unknown> } }).settings.tags;
  };
  const open = async (): Promise<void> => {
    await page.getByText("With other settings").click();
    await page.getByText("Title, artist, ISRC").click();
  };
  await open();
  await page.getByLabel("ISRC").fill("DE-A12");
  await page.getByRole("button", { name: "Master again" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "An ISRC has two letters" })).toBeVisible();
  await page.getByLabel("ISRC").fill("DE-A12-26-00001");
  await page.getByLabel("Title", { exact: true }).fill("Onion, the album version");
  await page.getByLabel("Artist", { exact: true }).fill("Skiessi");
  expect(await order()).toMatchObject({ title: "Onion, the album version", artist: "Skiessi" });
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Onion, the album version");
  await open();
  await expect(page.getByLabel("Artist", { exact: true })).toHaveValue("Skiessi");
  await fits(page);
  await accessible(page);
  await page.getByLabel("Artist", { exact: true }).fill("");
  expect(await order()).toMatchObject({ title: "Onion, the album version", artist: "" });
});
