// Builds the page into the directory that is named: node build.mjs ../service/web/files
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs DIRECTORY");
const modules = "node_modules";

await rm(out, { recursive: true, force: true });
await mkdir(`${out}/vendor`, { recursive: true });

const bundle = await build({
  entryPoints: { page: "src/main.ts", "page-style": "src/style/page.css", docs: "src/docs/docs.ts", redoc: "src/docs/redoc.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  external: ["*.woff2"],
  legalComments: "none", // LICENSES.txt holds them
  charset: "utf8",
  metafile: true,
});

await cp("public", out, { recursive: true });
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

// Every package of which something is in the build, with its licence.
const inputs = Object.keys(bundle.metafile.inputs).concat(Object.keys(copied).map((path) => `${modules}/${path}`));
const packages = new Set(inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean));
let licences = "The page and its viewers contain these packages.\n";
for (const name of [...packages].sort()) {
  const { version, license } = JSON.parse(await readFile(`${modules}/${name}/package.json`, "utf8"));
  let text = "";
  for (const file of ["LICENSE", "LICENSE.md", "license", "LICENSE.txt"]) {
    text ||= await readFile(`${modules}/${name}/${file}`, "utf8").catch(() => "");
  }
  if (!text) throw new Error(`${name} has no licence file`);
  licences += `\n${"=".repeat(80)}\n${name} ${version} (${license})\n${"=".repeat(80)}\n${text.trim()}\n`;
}
for (const file of ["swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt", "redoc/bundles/redoc.standalone.js.LICENSE.txt"]) {
  licences += `\n${"=".repeat(80)}\ninside ${file.replace(".LICENSE.txt", "")}\n${"=".repeat(80)}\n${(await readFile(`${modules}/${file}`, "utf8")).trim()}\n`;
}
await writeFile(`${out}/LICENSES.txt`, licences);
