// The browser answers by itself: the packages' own graphs, in WebAssembly. Nothing leaves it.
import type { AttackOptions, AttackOutcome, AttackProgress, Backend, CertifyOptions, CertifyOutcome, Explanation, Grid, ModelDetails, ModelList, ModelRef, ModelSummary, Prediction } from "../../api";
import { explanation, predictions } from "./answers";
import { attackImage, distance, HAS_GRADIENTS } from "./attacks";
import { CERTAIN_MARGIN, certifiedRadius, marginLowerBound } from "./interval-bounds";
import { gridOf, openPackage, read, readManifest, readWeights, type Package } from "./packages";
import { expand, readTensors, sheetOf, type Expanded } from "./parameters";
import { BLANK_MESSAGE, refusal } from "./preprocessing/picture";
import { isBlank, prepare, type Prepared } from "./preprocessing/prepare";

interface Index extends ModelList { models: (ModelSummary & { versions: string[] })[] }

let index: Promise<Index> | undefined;
const listModels = (): Promise<Index> =>
  (index ??= read("models/index.json")
    .then((response) => response.json())
    .catch((error) => {
      index = undefined; // may be asked again
      throw error;
    }));

async function describeModel(model: ModelRef): Promise<ModelDetails> {
  const [{ models }, manifest] = [await listModels(), await readManifest(model)];
  return { ...models.find(({ name, version }) => name === model.name && version === model.version)!, manifest };
}

/** Files are brought into the network's form once, for the prediction and the explanation. */
const prepared = new WeakMap<Blob, { manifest: unknown; result: Promise<Prepared> }>();
function prepareOnce({ manifest }: Package, file: Blob): Promise<Prepared> {
  const known = prepared.get(file);
  if (known?.manifest === manifest) return known.result;
  const result = prepare(file, manifest);
  prepared.set(file, { manifest, result });
  return result;
}

/** An image as the list of its numbers, which goes to the network as it is. */
function pixelsOf(image: Grid): Float32Array {
  const pixels = Float32Array.from(image.flat());
  if (isBlank(pixels)) throw refusal(BLANK_MESSAGE);
  return pixels;
}

const told = ({ steps, box }: Prepared): Pick<Prediction, "preprocessed" | "box"> => ({ preprocessed: steps, box });

async function predict(model: ModelRef, file: Blob): Promise<Prediction> {
  const opened = await openPackage(model);
  const found = await prepareOnce(opened, file);
  const [prediction] = await predictions(opened, [found.pixels]);
  return { ...prediction!, ...told(found) };
}

async function explain(model: ModelRef, image: Blob | Grid): Promise<Explanation> {
  const opened = await openPackage(model);
  if (!(image instanceof Blob)) return explanation(opened, pixelsOf(image));
  const found = await prepareOnce(opened, image);
  return { ...(await explanation(opened, found.pixels)), ...told(found) };
}

/** The network's tensors: some 10 MB, so only those of the model that was asked last. */
let expanded: { model: string; network: Promise<Expanded> } | undefined;
function networkOf(ref: ModelRef, { manifest }: Package): Promise<Expanded> {
  const model = `${ref.name}/${ref.version}`;
  if (expanded?.model !== model) expanded = { model, network: readWeights(ref).then((weights) => expand(readTensors(weights), manifest)) };
  return expanded.network;
}

async function certify(model: ModelRef, image: Grid, { epsilon, radius, counterexample }: CertifyOptions): Promise<CertifyOutcome> {
  const opened = await openPackage(model);
  const [network, pixels, width] = [await networkOf(model, opened), pixelsOf(image), opened.manifest.input.width];
  const [prediction] = await predictions(opened, [pixels]);
  const of = opened.manifest.labels.indexOf(prediction!.label);
  const bound = marginLowerBound(network, pixels, width, of, epsilon);
  const verdict = bound > CERTAIN_MARGIN ? "certified" : "unknown";
  const outcome: CertifyOutcome = { label: prediction!.label, prediction: prediction!, verdict, margin_lower_bound: bound };
  if (radius) outcome.certified_radius = Math.max(await certifiedRadius(network, pixels, width, of), verdict === "certified" ? epsilon : 0);
  if (verdict === "certified" || !counterexample || epsilon === 0) return outcome;
  const { success, image: other } = await attackImage(opened, pixels, of, { attack: "pgd", norm: "linf", epsilon }, null);
  if (!success) return outcome;
  const [adversarial] = await predictions(opened, [other]);
  return { ...outcome, verdict: "falsified", counterexample: { image: gridOf(other, width), distance: distance(pixels, other), prediction: adversarial! } };
}

async function attack(
  model: ModelRef, image: Grid, options: AttackOptions, signal: AbortSignal, onProgress: (progress: AttackProgress) => void,
): Promise<AttackOutcome> {
  if (!HAS_GRADIENTS.includes(options.attack)) throw refusal(`${options.attack} needs the service; here there are ${HAS_GRADIENTS.join(" and ")}`);
  const opened = await openPackage(model);
  const pixels = pixelsOf(image);
  const [original] = await predictions(opened, [pixels]);
  const of = opened.manifest.labels.indexOf(original!.label);
  const { success, image: other, queries } = await attackImage(opened, pixels, of, options, signal, onProgress);
  const [adversarial] = await predictions(opened, [other]);
  return {
    success, label: original!.label, original: original!, adversarial: adversarial!, image: gridOf(other, opened.manifest.input.width),
    distance: distance(pixels, other), queries, stopped_by: success ? "success" : "finished",
  };
}

export const backend: Backend = {
  origin: null,
  attacks: HAS_GRADIENTS,
  limits: {
    pictures: "This demo finds digits in drawings and on plain paper; photographs of digits need the service.",
    proofs: "Proved here in your browser, by interval bounds; one PGD attack looks for a counterexample. The service looks harder.",
    attacks: "FGSM and PGD run here in your browser; the other seven attacks need the service.",
  },
  listModels, describeModel, predict, explain, certify, attack,
  readSheet: async (model) => sheetOf(readTensors(await readWeights(model)), await readManifest(model)),
  predictAll: async (model, images) => predictions(await openPackage(model), images.map(pixelsOf)),
};
