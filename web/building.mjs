// What both builds share: the bundle, the document, and the licences of what is in them.
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

export const modules = "node_modules";
/** The licences of the samples, by what they are of. */
export const SAMPLES = { "samples/: ten kinds of clothes, of Fashion-MNIST": "licences/fashion-mnist.txt" };

/** Bundles into a directory and returns the packages' files that went in. */
export async function bundle(out, entryPoints, conditions = []) {
  const { metafile } = await build({
    entryPoints,
    outdir: out,
    conditions,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022"],
    external: ["*.woff2"],
    legalComments: "none", // LICENSES.txt holds them
    charset: "utf8",
    metafile: true,
  });
  return Object.keys(metafile.inputs);
}

/** Writes the page's document with the parts that are for the service, or those for the demo. */
export async function writeDocument(out, kind) {
  const all = await readFile("public/index.html", "utf8");
  const chosen = all.replace(/<!--(service|demo)-->([^]*?)<!--\/\1-->/g, (_, of, text) => (of === kind ? text : ""));
  // A demo may lie in any folder of a host, so its links are relative.
  await writeFile(`${out}/index.html`, kind === "demo" ? chosen.replaceAll('"/page/', '"').replaceAll('href="/"', 'href="./"') : chosen);
}

/** Writes the licence of every package of which something is among the inputs, and further texts by their titles. */
export async function writeLicences(out, inputs, further) {
  const packages = new Set(inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean));
  const line = "=".repeat(80);
  let licences = "The page and its viewers contain these packages.\n";
  for (const name of [...packages].sort()) {
    const { version, license } = JSON.parse(await readFile(`${modules}/${name}/package.json`, "utf8"));
    let text = "";
    for (const file of [`${modules}/${name}/LICENSE`, `${modules}/${name}/LICENSE.md`, `${modules}/${name}/license`, `${modules}/${name}/LICENSE.txt`, `licences/${name}.txt`]) {
      text ||= await readFile(file, "utf8").catch(() => "");
    }
    if (!text) throw new Error(`${name} has no licence file`);
    licences += `\n${line}\n${name} ${version} (${license})\n${line}\n${text.trim()}\n`;
  }
  for (const [title, file] of Object.entries(further)) {
    licences += `\n${line}\n${title}\n${line}\n${(await readFile(file, "utf8")).trim()}\n`;
  }
  await writeFile(`${out}/LICENSES.txt`, licences);
}
