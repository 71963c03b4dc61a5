// One SVG sprite of exactly the Lucide icons that templates and code name.
// An icon nobody ships is a build error, not an empty square on the page.
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const SEARCHED = ["templates", "portal", "marketplace", "billing", "inference"];
const NAMED = [/\{%\s*icon\s+"([a-z0-9-]+)"/g, /\bicon=["']([a-z0-9-]+)["']/g, /\bicon\("([a-z0-9-]+)"\)/g];

async function* walk(folder) {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    if (["node_modules", "dist", "migrations", "__pycache__"].includes(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (/\.(html|py|ts)$/.test(entry.name)) yield path;
  }
}

async function findNames(root) {
  const names = new Set();
  for (const folder of SEARCHED) {
    for await (const path of walk(join(root, folder))) {
      const text = await readFile(path, "utf8");
      for (const pattern of NAMED) for (const match of text.matchAll(pattern)) names.add(match[1]);
    }
  }
  return [...names].sort();
}

async function toSymbol(root, name) {
  const path = join(root, "node_modules/lucide-static/icons", `${name}.svg`);
  const svg = await readFile(path, "utf8").catch(() => {
    throw new Error(`no Lucide icon is called "${name}"`);
  });
  const shapes = svg.replace(/[\s\S]*?<svg[\s\S]*?>/, "").replace("</svg>", "").replace(/\s*\n\s*/g, "");
  return `<symbol id="${name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round">${shapes}</symbol>`;
}

export async function buildSprite({ root }) {
  const symbols = await Promise.all((await findNames(root)).map((name) => toSymbol(root, name)));
  return `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>\n`;
}
