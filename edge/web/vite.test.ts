import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

// The unit tests as plain modules for Node's own test runner.
export default defineConfig({
  build: {
    ssr: true,
    outDir: "dist-test",
    emptyOutDir: true,
    minify: false,
    rollupOptions: {
      input: readdirSync("test").filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`),
      output: { entryFileNames: "[name].mjs" },
    },
  },
  publicDir: false,
});
