// Builds the page without a server, for any static host: node build-demo.mjs ../artifacts ../build/demo
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { bundle, modules, SAMPLES, writeDocument, writeLicences } from "./building.mjs";

const [artifacts, out] = process.argv.slice(2);
if (!out) throw new Error("usage: node build-demo.mjs PACKAGES DIRECTORY");
const DEFAULT_MODEL = "mnist-10"; // the service's (WHITEBOX_DEFAULT_MODEL)
const READ_BY_THE_BROWSER = ["predict.onnx", "explain.onnx", "weights.safetensors"];

await rm(out, { recursive: true, force: true });
await mkdir(`${out}/onnxruntime`, { recursive: true });
await cp("public/icon.svg", `${out}/icon.svg`);
await cp("public/samples", `${out}/samples`, { recursive: true });
await writeDocument(out, "demo");
const inputs = await bundle(out, { page: "src/main.ts", "page-style": "src/style/page.css" }, ["static-demo"]);
const copied = {
  "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter.woff2",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "onnxruntime/ort-wasm-simd-threaded.wasm",
};
for (const [from, to] of Object.entries(copied)) await cp(`${modules}/${from}`, `${out}/${to}`);
await writeLicences(out, [...inputs, ...Object.keys(copied).map((path) => `${modules}/${path}`)], {
  ...SAMPLES,
  "inside onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "licences/onnxruntime-third-party-notices.txt",
});

const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const folders = async (path) => (await readdir(path, { withFileTypes: true })).filter((each) => each.isDirectory()).map(({ name }) => name).sort(new Intl.Collator("en", { numeric: true }).compare);

/** Copies what the browser reads of a package, and tells of it as GET /v1/models/NAME does. */
async function copyPackage(name, version, versions) {
  const [from, to] = [`${artifacts}/${name}/${version}`, `${out}/models/${name}/${version}`];
  await mkdir(to, { recursive: true });
  await cp(`${from}/manifest.json`, `${to}/manifest.json`);
  const { files, labels } = JSON.parse(await readFile(`${from}/manifest.json`, "utf8"));
  for (const file of READ_BY_THE_BROWSER) {
    const content = await readFile(`${from}/${file}`);
    if (sha256(content) !== files[file]) throw new Error(`${from}/${file} does not match its digest in manifest.json`);
    await writeFile(`${to}/${file}`, content);
  }
  const digest = sha256(Object.keys(files).sort().map((file) => `${file}:${files[file]}\n`).join(""));
  return { name, version, digest, labels, versions };
}

const models = [];
for (const name of await folders(artifacts)) {
  const versions = await folders(`${artifacts}/${name}`);
  for (const version of versions) models.push(await copyPackage(name, version, versions));
}
await writeFile(`${out}/models/index.json`, JSON.stringify({ default: DEFAULT_MODEL, models }));
