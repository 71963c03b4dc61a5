// Compiles locale/*/LC_MESSAGES/*.po for Django, so that no machine needs GNU gettext to show a translation.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mo, po } from "gettext-parser";

export async function compileCatalogues({ root }) {
  const locales = join(root, "locale");
  for (const language of await readdir(locales)) {
    const folder = join(locales, language, "LC_MESSAGES");
    for (const name of (await readdir(folder)).filter((file) => file.endsWith(".po"))) {
      const catalogue = po.parse(await readFile(join(folder, name)));
      const missing = Object.values(catalogue.translations[""]).filter(({ msgid, msgstr }) => msgid && !msgstr[0]);
      if (missing.length) console.warn(`${language}: ${missing.length} texts are not translated, such as "${missing[0].msgid}"`);
      await writeFile(join(folder, name.replace(/po$/, "mo")), mo.compile(catalogue));
    }
  }
}
