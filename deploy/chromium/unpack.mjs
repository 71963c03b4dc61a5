// Unpack the browser and its libraries beside this file, with a script `chromium` that starts it.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = join(dirname(fileURLToPath(import.meta.url)), "unpacked");
process.env.TMPDIR = here;
// The package unpacks the libraries only where it believes to be on the machine that it was made for.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs22.x";
mkdirSync(here, { recursive: true });
const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();

// Without any font a text has no width, and the browser says that there is none.
writeFileSync(
  join(here, "fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`,
);

const script = `#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)/unpacked
# What the machine has comes first; the package's are for what it lacks.
export LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here:$here/al2023/lib"
export FONTCONFIG_FILE="$here/fonts.conf"
# Under POSIX's locale it says that its language is "en-US@posix", which is none.
unset LC_ALL
export LANG=en_US.UTF-8
exec "$here/chromium" "$@"
`;
const path = join(dirname(here), "chromium");
writeFileSync(path, script);
chmodSync(path, 0o755);
