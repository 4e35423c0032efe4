// Model packages beside the page, and their graphs on onnxruntime-web: WebAssembly, one thread, all from the page's own folder.
import * as ort from "onnxruntime-web/wasm";
import { Problem, type Grid, type Label, type Manifest, type ModelRef } from "../../api";
import { assetUrl } from "../../assets";

ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
ort.env.wasm.wasmPaths = { wasm: assetUrl("onnxruntime/ort-wasm-simd-threaded.wasm") };

/** What the browser needs of a manifest besides what the page shows. */
export interface PackageManifest extends Manifest {
  labels: Label[];
  config: { shapes_per_class: number; rotations: number } & Record<string, unknown>;
  input: { height: number; width: number };
  preprocessing: { name: "handwritten-digit"; box: number } | { name: "resize" };
  typicality?: { output: string; shift: number; calibration: number[] };
}

export interface Package { model: ModelRef; manifest: PackageManifest }
type Graph = "predict.onnx" | "explain.onnx";

/** The outputs of a graph by name, each with the images one after the other. */
export type Outputs = Record<string, ort.Tensor>;

export async function read(path: string): Promise<Response> {
  const response = await fetch(assetUrl(path)).catch(() => undefined);
  if (response?.ok) return response;
  throw new Problem(response?.status ?? 0, "unreachable", `${path} of this demo cannot be loaded. Is its host still there?`);
}

const folder = ({ name, version }: ModelRef): string => `models/${encodeURIComponent(name)}/${encodeURIComponent(version)}`;

/** Returns a function that loads once what a model is asked for, and again if that failed. */
function onceEach<T>(load: (model: ModelRef) => Promise<T>): (model: ModelRef) => Promise<T> {
  const loaded = new Map<string, Promise<T>>();
  return (model) => {
    const key = folder(model);
    if (!loaded.has(key)) {
      const loading = load(model);
      loading.catch(() => loaded.delete(key));
      loaded.set(key, loading);
    }
    return loaded.get(key)!;
  };
}

export const readManifest = onceEach(async (model) => (await (await read(`${folder(model)}/manifest.json`)).json()) as PackageManifest);

export const readWeights = onceEach(async (model) => (await read(`${folder(model)}/weights.safetensors`)).arrayBuffer());

export const openPackage = async (model: ModelRef): Promise<Package> => ({ model, manifest: await readManifest(model) });

const opening = (graph: Graph): ((model: ModelRef) => Promise<ort.InferenceSession>) =>
  onceEach(async (model) => {
    const content = await (await read(`${folder(model)}/${graph}`)).arrayBuffer();
    return ort.InferenceSession.create(new Uint8Array(content), { executionProviders: ["wasm"] });
  });
const sessions = { "predict.onnx": opening("predict.onnx"), "explain.onnx": opening("explain.onnx") };

/** Runs a graph of a package on images, opened when it is first asked; what is not named is not answered. */
export async function run({ model, manifest }: Package, graph: Graph, images: readonly Float32Array[], names: readonly string[]): Promise<Outputs> {
  const session = await sessions[graph](model);
  const { height, width } = manifest.input;
  const pixels = new Float32Array(images.length * height * width);
  images.forEach((image, index) => pixels.set(image, index * image.length));
  return session.run({ image: new ort.Tensor("float32", pixels, [images.length, 1, height, width]) }, names);
}

/** The numbers of one image in an output. */
export function numbersOf(outputs: Outputs, name: string, index: number): number[] {
  const { data, dims } = outputs[name]!;
  const size = data.length / dims[0]!;
  return Array.from(data.slice(index * size, (index + 1) * size) as ArrayLike<number | bigint>, Number);
}

/** Rows of numbers that lie one after the other. */
export const gridOf = (numbers: ArrayLike<number>, width: number, start = 0, height = numbers.length / width): Grid =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => numbers[start + y * width + x]!));
