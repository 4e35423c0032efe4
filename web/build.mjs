// Builds the page of the service into the directory that is named: node build.mjs ../service/web/files
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { bundle, modules, SAMPLES, writeDocument, writeLicences } from "./building.mjs";

const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs DIRECTORY");

await rm(out, { recursive: true, force: true });
await mkdir(`${out}/vendor`, { recursive: true });
await cp("public", out, { recursive: true });
await writeDocument(out, "service");
const inputs = await bundle(out, { page: "src/main.ts", "page-style": "src/style/page.css", docs: "src/docs/docs.ts", redoc: "src/docs/redoc.ts" });

const copied = {
  "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter.woff2",
  "swagger-ui-dist/swagger-ui-bundle.js": "vendor/swagger-ui-bundle.js",
  "swagger-ui-dist/swagger-ui.css": "vendor/swagger-ui.css",
  "redoc/bundles/redoc.standalone.js": "vendor/redoc.standalone.js",
};
for (const [from, to] of Object.entries(copied)) {
  const text = /\.(js|css)$/.test(to);
  const content = await readFile(`${modules}/${from}`, text ? "utf8" : undefined);
  // Source maps are not served, and ReDoc's own logo would come from its makers' server.
  const logo = "https://cdn.redoc.ly/redoc/logo-mini.svg";
  if (to.includes("redoc") && !content.includes(logo)) throw new Error("ReDoc has moved its logo: look what it loads");
  await writeFile(`${out}/${to}`, text ? content.replaceAll(logo, "/page/icon.svg").replace(/\n?\/[/*][#@] sourceMappingURL=[^\n*]*(\*\/)?\s*$/, "\n") : content);
}

await writeLicences(out, [...inputs, ...Object.keys(copied).map((path) => `${modules}/${path}`)], {
  ...SAMPLES,
  "inside swagger-ui-dist/swagger-ui-bundle.js": `${modules}/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt`,
  "inside redoc/bundles/redoc.standalone.js": `${modules}/redoc/bundles/redoc.standalone.js.LICENSE.txt`,
});
