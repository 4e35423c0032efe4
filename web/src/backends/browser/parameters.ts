// A network's parameters from weights.safetensors, its poses expanded as in model/layers/.
import type { Sheet } from "../../api";
import { gridOf, type PackageManifest } from "./packages";

export interface Tensor { shape: number[]; values: Float32Array }
type Weights = Record<string, Tensor>;

/** The staircase of a pixel in closed form (model/layers/two_step.py): a softsign term for each half step. */
export interface Staircase { slope: number[]; offset: number[]; limit: number[]; scale: number[]; height: number[]; constant: number }

export interface Expanded {
  staircase: Staircase;
  /** (kernels * rotations, k, k) */
  kernels: Tensor;
  /** (shapes, poses, H, W) */
  templates: Tensor;
  /** For each class and pose the weight of every shape. */
  rows: Float64Array[][];
}

/** Reads the safetensors format: the length of a JSON header, the header, the numbers. */
export function readTensors(content: ArrayBuffer): Weights {
  const length = Number(new DataView(content).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 8, length))) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
  const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(tensors.map(([name, { shape, data_offsets: [start, end] }]) =>
    [name, { shape, values: new Float32Array(content.slice(8 + length + start, 8 + length + end)) }]));
}

export function expand(weights: Weights, { config, input, labels }: PackageManifest): Expanded {
  return {
    staircase: staircaseOf(weights),
    kernels: rotated(weights["convolutional.base"]!, config.rotations),
    templates: posed(weights["affine.base"]!, weights["affine.poses"]!, input),
    rows: rolled(weights["logical.base"]!, labels.length, config.shapes_per_class),
  };
}

/** What model/sheet.py reads out of a package. */
export function sheetOf(weights: Weights, { config, labels }: PackageManifest): Sheet {
  const { shape: [count, side], values: bases } = weights["affine.base"]! as { shape: [number, number, number]; values: Float32Array };
  const { shape: [turned, k], values: kernels } = rotated(weights["convolutional.base"]!, config.rotations) as { shape: [number, number]; values: Float32Array };
  const perClass = config.shapes_per_class;
  const weight = (of: number, shape: number): number => {
    const own = Math.floor(shape / perClass) === of; // of its own shapes a class takes one, all with the same weight
    return weights["logical.base"]!.values[of * count + (own ? of * perClass : shape)]!;
  };
  const named = ["thresholds", "levels", "scales"].map((name): [string, number[]] => [name, [...weights[`two_step.${name}`]!.values]]);
  return {
    two_step: Object.fromEntries(named),
    kernels: Array.from({ length: turned / config.rotations }, (_, kernel) =>
      Array.from({ length: config.rotations }, (_, turn) => gridOf(kernels, k, (kernel * config.rotations + turn) * k * k, k))),
    shapes: Array.from({ length: count }, (_, shape) => ({
      speaks_for: labels[Math.floor(shape / perClass)]!, base: gridOf(bases, side, shape * side * side, side),
    })),
    rows: Object.fromEntries(labels.map((label, of) => [String(label), Array.from({ length: count }, (_, shape) => weight(of, shape))])),
  };
}

function staircaseOf(weights: Weights): Staircase {
  const of = (name: string): number[] => [...(weights[`two_step.${name}`]?.values ?? [])];
  const [levels, thresholds, scales] = [of("levels"), of("thresholds").map((each) => 2 * each - 1), of("scales")];
  const steps = thresholds.length;
  const learned = "two_step.plateaus" in weights; // several steps between learned plateaus, or OFF, MEH and ON
  const plateaus = learned ? [-1, ...of("plateaus"), 1] : [-1, 0, 1];
  const crossings = learned
    ? levels.map((level, step) => plateaus[step]! + level * (plateaus[step + 1]! - plateaus[step]!))
    : [-levels[0]!, levels[1]!];
  const halves = Array.from({ length: 2 * steps }, (_, half) => {
    const step = half >> 1;
    const end = step + (half % 2); // the end of the step at which this half ends
    return { direction: half % 2 ? 1 : -1, threshold: thresholds[step]!, reach: Math.abs((2 * end) / steps - 1 - thresholds[step]!), rise: plateaus[end]! - crossings[step]! };
  });
  const total = (values: number[]): number => values.reduce((sum, value) => sum + value, 0);
  return {
    slope: halves.map(({ direction }) => 2 * direction),
    offset: halves.map(({ direction, threshold }) => -direction * (1 + threshold)),
    // The outer pieces end with the pixel's range, so only the inner ones need a limit.
    limit: halves.map(({ reach }, half) => (half === 0 || half === 2 * steps - 1 ? 2 : reach)),
    scale: scales,
    height: halves.map(({ reach, rise }, half) => (rise * (scales[half]! + reach)) / reach),
    constant: total(crossings) - total(plateaus.slice(1, -1)),
  };
}

/** Every kernel in every rotation, of norm 1. */
function rotated({ shape, values }: Tensor, rotations: number): Tensor {
  const [count, side] = shape as [number, number];
  const turned = Array.from({ length: count * rotations }, (_, at) => {
    const angle = (2 * Math.PI * (at % rotations)) / rotations;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    return warp(values, Math.floor(at / rotations) * side * side, side, side, side, [cos, sin, 0, -sin, cos, 0]);
  });
  return { shape: [turned.length, side, side], values: joined(turned) };
}

/** Every shape in each of its poses on a canvas of the image's size, of norm 1. */
function posed({ shape: [count, side], values }: Tensor, { shape: poseShape, values: maps }: Tensor, { height, width }: { height: number; width: number }): Tensor {
  const poses = poseShape[1]!;
  const all = Array.from({ length: count! * poses }, (_, at) =>
    warp(values, Math.floor(at / poses) * side! * side!, side!, height, width, maps.subarray(6 * at, 6 * at + 6)));
  return { shape: [count!, poses, height, width], values: joined(all) };
}

function joined(arrays: Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.length * arrays[0]!.length);
  arrays.forEach((array, index) => all.set(array, index * array.length));
  return all;
}

/**
 * A square base in the middle of a canvas (height, width), warped by [A | t] and of norm 1: the value at a point y from
 * the centre is the base's at A y + t, bilinear, with zeros outside.
 */
function warp(bases: Float32Array, start: number, side: number, height: number, width: number, map: ArrayLike<number>): Float32Array {
  const [top, left] = [Math.floor((height - side) / 2), Math.floor((width - side) / 2)];
  const [middleY, middleX] = [(height - 1) / 2, (width - 1) / 2];
  const at = (y: number, x: number): number => (y >= 0 && y < side && x >= 0 && x < side ? bases[start + y * side + x]! : 0);
  const found = new Float32Array(height * width);
  let squares = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [fromX, fromY] = [column - middleX, row - middleY];
      const x = map[0]! * fromX + map[1]! * fromY + map[2]! + middleX - left;
      const y = map[3]! * fromX + map[4]! * fromY + map[5]! + middleY - top;
      const [x0, y0] = [Math.floor(x), Math.floor(y)];
      const [right, down] = [x - x0, y - y0];
      const value =
        (1 - down) * ((1 - right) * at(y0, x0) + right * at(y0, x0 + 1)) + down * ((1 - right) * at(y0 + 1, x0) + right * at(y0 + 1, x0 + 1));
      found[row * width + column] = value;
      squares += value * value;
    }
  }
  const norm = Math.max(Math.sqrt(squares), 1e-12);
  return found.map((value) => value / norm);
}

/** The row of every class in each of its poses: its one weight for its own shapes stands at one of them. */
function rolled({ values }: Tensor, classes: number, perClass: number): Float64Array[][] {
  const count = classes * perClass;
  return Array.from({ length: classes }, (_, of) => Array.from({ length: perClass }, (_, pose) => {
    const row = Float64Array.from(values.subarray(of * count, (of + 1) * count));
    const own = row[of * perClass]!;
    row.fill(0, of * perClass, (of + 1) * perClass);
    row[of * perClass + pose] = own;
    return row;
  }));
}
