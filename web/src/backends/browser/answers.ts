// From the graphs' outputs to predictions and explanations, as service/codecs/serialization.py writes them.
import type { Claim, Explanation, Grid, Prediction, Shape } from "../../api";
import { gridOf, numbersOf, run, type Package, type PackageManifest } from "./packages";

// The service's default (WHITEBOX_TYPICALITY_LEVEL): an image with a p-value of at most this is called untypical.
const TYPICALITY_LEVEL = 0.01;
const EXPLAINED = [
  "logits", "two_step", "bright", "kernel", "rotation", "shapes", "pose", "templates", "claim_pose", "contributions",
  "attribution_bright", "attribution_two_step",
];

export async function predictions(opened: Package, images: readonly Float32Array[]): Promise<Prediction[]> {
  const { manifest } = opened;
  const { labels, typicality } = manifest;
  const outputs = await run(opened, "predict.onnx", images, ["logits", "probabilities", ...(typicality ? [typicality.output] : [])]);
  return images.map((_, index) => {
    const [logits, shares] = [numbersOf(outputs, "logits", index), numbersOf(outputs, "probabilities", index)];
    const best = logits.indexOf(Math.max(...logits));
    const prediction: Prediction = {
      label: labels[best]!, confidence: shares[best]!, probabilities: byLabel(manifest, (at) => shares[at]!), logits: byLabel(manifest, (at) => logits[at]!),
    };
    if (typicality) {
      const value = pValue(numbersOf(outputs, typicality.output, index)[0]!, typicality);
      prediction.typicality = { p_value: value, typical: value > TYPICALITY_LEVEL };
    }
    return prediction;
  });
}

const byLabel = <T>({ labels }: PackageManifest, make: (at: number) => T): Record<string, T> =>
  Object.fromEntries(labels.map((label, at) => [String(label), make(at)]));

/** The share of calibration scores at least as large, times the shift (model/conformal.py). */
function pValue(score: number, { calibration, shift }: { calibration: number[]; shift: number }): number {
  const asUnusual = Number.isNaN(score) ? 0 : calibration.filter((each) => each >= score).length;
  return Math.min(1, (shift * (1 + asUnusual)) / (1 + calibration.length));
}

export async function explanation(opened: Package, image: Float32Array): Promise<Explanation> {
  const { manifest } = opened;
  const { height, width } = manifest.input;
  const [[prediction], outputs] = [await predictions(opened, [image]), await run(opened, "explain.onnx", [image], EXPLAINED)];
  const numbers = (name: string): number[] => numbersOf(outputs, name, 0);
  const map = (name: string): Grid => gridOf(numbers(name), width);
  const maps = (name: string): Grid[] => {
    const found = numbers(name);
    return Array.from({ length: found.length / (height * width) }, (_, at) => gridOf(found, width, at * height * width, height));
  };
  const [bright, twoStep] = [maps("attribution_bright"), maps("attribution_two_step")];
  return {
    ...prediction!, image: gridOf(image, width), two_step: map("two_step"),
    bright: { values: map("bright"), kernel: map("kernel"), rotation: map("rotation") },
    shapes: shapes(manifest, numbers("shapes"), numbers("pose"), maps("templates")),
    claims: claims(manifest, numbers("claim_pose"), numbers("contributions")),
    attribution: byLabel(manifest, (at) => ({ bright: bright[at]!, two_step: twoStep[at]! })),
  };
}

const shapes = ({ labels, config }: PackageManifest, activations: number[], poses: number[], templates: Grid[]): Shape[] =>
  activations.map((activation, index) => ({
    speaks_for: labels[Math.floor(index / config.shapes_per_class)]!, activation, pose: poses[index]!, template: templates[index]!,
  }));

function claims(manifest: PackageManifest, poses: number[], contributions: number[]): Record<string, Claim> {
  const perClass = manifest.config.shapes_per_class;
  const count = perClass * manifest.labels.length;
  return byLabel(manifest, (at) => ({
    shape: at * perClass + poses[at]!,
    contributions: contributions.slice(at * count, (at + 1) * count).map((value) => value + 0), // no -0 for a silent shape
  }));
}
