import { defineConfig } from "vite";

// One entry a page; the edge embeds `dist` and reads its manifest. What all pages share is one chunk, so that a page takes few requests.
const SHARED = /sentences\.json$|\/src\/(api|attention|events|fresh|sentence|player\/(peaks|shape)|settings|site|storage|text|wishes)\.ts$/;

export default defineConfig({
  build: {
    target: "es2022",
    manifest: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: {
        site: "src/site.ts",
        home: "src/home.ts",
        job: "src/job.ts",
        library: "src/library.ts",
        account: "src/account.ts",
        "sign-in": "src/sign-in.ts",
      },
      output: {
        codeSplitting: {
          groups: [
            { name: "shared", test: SHARED },
            { name: "lit", test: /node_modules/ },
            { name: "player", test: /\/src\/player\/(?!peaks|shape)/ },
          ],
        },
      },
    },
  },
});
