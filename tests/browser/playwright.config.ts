import { defineConfig } from "@playwright/test";

// The real stack at BASE_URL. START is the command that starts it (waited for at /livez, ended afterwards); without START it has to run.
// MAIL_FOLDER is where it puts its mails. LONG=1 runs what takes minutes, too.
export default defineConfig({
  testDir: ".",
  testMatch: process.env.LONG ? /\.(spec|long)\.ts$/ : /\.spec\.ts$/,
  globalSetup: "./global-setup.ts",
  outputDir: "results",
  timeout: process.env.LONG ? 300_000 : 90_000,
  expect: { timeout: 20_000 },
  // A browser that is killed by a busy machine is no fault of the pages; what fails twice is. Those that needed it are listed as flaky.
  retries: 1,
  workers: 1,
  fullyParallel: false,
  reporter: [["line"]],
  use: {
    baseURL: process.env.BASE_URL ?? "http://127.0.0.1:3000",
    screenshot: "only-on-failure",
    trace: "off",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
    },
  },
});
