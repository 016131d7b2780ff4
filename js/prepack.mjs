// The npm package publishes the very files that the Python package serves.

import { copyFileSync } from "node:fs";

const COPIED = ["quart_wshub/static/wshub.js", "quart_wshub/static/wshub.d.ts", "LICENSE"];

for (const path of COPIED) {
  copyFileSync(new URL(`../${path}`, import.meta.url), new URL(path.split("/").at(-1), import.meta.url));
}
