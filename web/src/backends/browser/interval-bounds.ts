// Interval bounds through the four layers, as model/verification/interval_bounds.py: what they prove is proved.
import type { Expanded, Staircase, Tensor } from "./parameters";
import { pause } from "./pause";

/** A margin counts as certain only above this: ten times what float32 logits may be off. */
export const CERTAIN_MARGIN = 1e-4;
// The ball is widened by this, so that a pixel that lands exactly on a threshold counts as movable.
const OUTWARD = 1e-7;
const LARGEST_RADIUS = 0.5;
const PRECISION = 1e-3;

interface Interval { lower: Float64Array; upper: Float64Array }

/** No image within epsilon of this one, pixel by pixel, has a smaller margin of its class over the best other. */
export function marginLowerBound(network: Expanded, image: Float32Array, width: number, of: number, epsilon: number): number {
  const bright = brightInterval(twoStepInterval(image, epsilon + OUTWARD, network.staircase), network.kernels, width);
  return marginOf(shapeInterval(bright, network.templates), network.rows, of);
}

/** The largest radius that interval bounds certify, by bisection. */
export async function certifiedRadius(network: Expanded, image: Float32Array, width: number, of: number): Promise<number> {
  let radius = 0;
  for (let step = LARGEST_RADIUS / 2; step > PRECISION / 2; step /= 2) {
    await pause();
    if (marginLowerBound(network, image, width, of, radius + step) > CERTAIN_MARGIN) radius += step;
  }
  return radius;
}

const clamped = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** Monotone in each pixel, so the range is exact. */
function twoStepInterval(image: Float32Array, epsilon: number, terms: Staircase): Interval {
  return {
    lower: Float64Array.from(image, (value) => twoStep(clamped(value - epsilon, 0, 1), terms)),
    upper: Float64Array.from(image, (value) => twoStep(clamped(value + epsilon, 0, 1), terms)),
  };
}

function twoStep(value: number, { slope, offset, limit, scale, height, constant }: Staircase): number {
  return slope.reduce((total, each, at) => {
    const distance = clamped(value * each + offset[at]!, 0, limit[at]!);
    return total + (height[at]! * distance) / (distance + scale[at]!);
  }, constant);
}

/** Around the centre of a box a response moves by at most |kernel| times the box's radius. */
function brightInterval(pixels: Interval, { shape, values }: Tensor, width: number): Interval {
  const [count, side] = shape as [number, number];
  const [height, reach] = [pixels.lower.length / width, side >> 1];
  const [lower, upper] = [new Float64Array(pixels.lower.length), new Float64Array(pixels.lower.length)]; // 0: the ReLU
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let kernel = 0; kernel < count; kernel++) {
        let [low, high] = [0, 0];
        for (let dy = Math.max(0, reach - y); dy < Math.min(side, height + reach - y); dy++) {
          for (let dx = Math.max(0, reach - x); dx < Math.min(side, width + reach - x); dx++) {
            const weight = values[(kernel * side + dy) * side + dx]!;
            const at = (y + dy - reach) * width + x + dx - reach;
            low += weight * (weight > 0 ? pixels.lower[at]! : pixels.upper[at]!);
            high += weight * (weight > 0 ? pixels.upper[at]! : pixels.lower[at]!);
          }
        }
        lower[y * width + x] = Math.max(lower[y * width + x]!, low / side);
        upper[y * width + x] = Math.max(upper[y * width + x]!, high / side);
      }
    }
  }
  return { lower, upper };
}

function shapeInterval(bright: Interval, { shape, values }: Tensor): Interval {
  const [count, poses] = shape as [number, number];
  const size = bright.lower.length;
  const [lower, upper] = [new Float64Array(count), new Float64Array(count)];
  for (let template = 0; template < count * poses; template++) {
    let [low, high] = [0, 0];
    for (let at = 0, start = template * size; at < size; at++) {
      const weight = values[start + at]!;
      low += weight * (weight > 0 ? bright.lower[at]! : bright.upper[at]!);
      high += weight * (weight > 0 ? bright.upper[at]! : bright.lower[at]!);
    }
    const own = Math.floor(template / poses);
    lower[own] = Math.max(lower[own]!, low);
    upper[own] = Math.max(upper[own]!, high);
  }
  return { lower, upper };
}

/** logit_t - logit_c = min over poses r of c, max over poses q of t, of (row_tq - row_cr) . shapes. */
function marginOf(shapes: Interval, rows: Float64Array[][], of: number): number {
  const least = (one: Float64Array, other: Float64Array): number =>
    one.reduce((total, weight, shape) => {
      const difference = weight - other[shape]!;
      return total + difference * (difference > 0 ? shapes.lower[shape]! : shapes.upper[shape]!);
    }, 0);
  const against = (other: Float64Array): number => Math.max(...rows[of]!.map((own) => least(own, other)));
  return Math.min(...rows.flatMap((poses, label) => (label === of ? [] : poses.map(against))));
}
