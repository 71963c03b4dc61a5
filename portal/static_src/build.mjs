// Bundles the front end into portal/static/dist/ and holds it to its size budget.
// Django's manifest storage hashes the names afterwards; so no content hash is made here.
import { copyFile, mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { compileCatalogues } from "./catalogues.mjs";
import { buildSprite } from "./icons.mjs";

const source = dirname(fileURLToPath(import.meta.url));
const root = join(source, "../..");
const dist = join(root, "portal/static/dist");
const BUDGET_BYTES = 150_000;

const bundle = {
  absWorkingDir: root,
  entryPoints: [
    { in: join(source, "css/app.css"), out: "app" },
    { in: join(source, "js/theme.ts"), out: "theme" },
    { in: join(source, "js/app.ts"), out: "app" },
    { in: join(source, "js/chart.ts"), out: "chart" },
    { in: join(source, "js/playground/main.ts"), out: "playground" },
    { in: join(source, "js/upload/main.ts"), out: "upload" },
    { in: join(source, "js/calculator.ts"), out: "calculator" },
    { in: join(source, "js/plan.ts"), out: "plan" },
  ],
  outdir: dist,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome111", "firefox113", "safari16.4"],
  external: ["*.woff2"],
  legalComments: "none",
  logLevel: "warning",
};

async function copyFont() {
  const font = "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2";
  await copyFile(join(root, "node_modules", font), join(dist, "inter.woff2"));
}

async function reportSizes() {
  let total = 0;
  for (const name of (await readdir(dist)).filter((file) => /\.(css|js)$/.test(file)).sort()) {
    const compressed = gzipSync(await readFile(join(dist, name)), { level: 9 }).length;
    total += compressed;
    console.log(`${(compressed / 1000).toFixed(1).padStart(7)} kB  ${name}`);
  }
  console.log(`${(total / 1000).toFixed(1).padStart(7)} kB  total of ${BUDGET_BYTES / 1000} kB, gzip`);
  if (total > BUDGET_BYTES) throw new Error("CSS and JavaScript are over the size budget");
}

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await copyFont();
await compileCatalogues({ root });
await writeFile(join(dist, "icons.svg"), await buildSprite({ root }));
if (process.argv.includes("--watch")) {
  await (await esbuild.context(bundle)).watch();
  console.log(`watching ${relative(root, source)}`);
} else {
  await esbuild.build(bundle);
  await reportSizes();
  console.log(`${((await stat(join(dist, "icons.svg"))).size / 1000).toFixed(1).padStart(7)} kB  icons.svg`);
}
