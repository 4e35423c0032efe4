// FGSM and PGD by the exact gradients of explain.onnx. Every result lies inside the ball and in [0, 1].
import type { AttackOptions, AttackProgress, Distance } from "../../api";
import { numbersOf, run, type Package } from "./packages";
import { pause } from "./pause";

export const HAS_GRADIENTS = ["pgd", "fgsm"];
/** Another class leads by so much: no runtime's rounding of the logits can turn the answer back. */
const ADVERSARIAL_MARGIN = 1e-4;
const PGD_STEPS = 40;

export interface Attempt { image: Float32Array; margin: number; queries: number; success: boolean }
type Watch = (progress: AttackProgress) => void;

/** Attacks one image of a class until it succeeds, has made all its steps, or is stopped. */
export async function attackImage(opened: Package, image: Float32Array, of: number, options: AttackOptions, signal: AbortSignal | null, watch: Watch = () => undefined): Promise<Attempt> {
  const ball: Ball = { image, norm: options.norm, epsilon: options.epsilon };
  const isPgd = options.attack === "pgd";
  const first = await ask(opened, image, of);
  const found: Attempt = { image, margin: first.margin, queries: 1, success: false };
  const step = (from: Float32Array, gradient: Float64Array): Float32Array =>
    projected(ball, moved(from, direction(gradient, ball.norm), isPgd ? ball.epsilon / 3 : ball.epsilon));
  let place = isPgd ? projected(ball, moved(image, somewhereIn(ball, generator(0)), 1)) : step(image, first.gradient);
  for (let left = isPgd ? PGD_STEPS + 1 : 1; left > 0 && !found.success; left--) {
    await pause(signal);
    const { margin, gradient } = await ask(opened, place, of);
    if (margin < found.margin) Object.assign(found, { image: place, margin, success: margin <= -ADVERSARIAL_MARGIN });
    found.queries += 1;
    watch({ index: 0, queries: found.queries, margin: found.margin });
    place = step(place, gradient);
  }
  return found;
}

export function distance(image: Float32Array, other: Float32Array): Distance {
  const changes = Array.from(image, (value, at) => Math.abs(other[at]! - value));
  return { linf: Math.max(...changes), l2: Math.hypot(...changes), l0: changes.filter((change) => change > 0).length };
}

interface Ball { image: Float32Array; norm: "linf" | "l2"; epsilon: number }

/** The margin of a class over the best other, and the gradient of the cross-entropy. */
async function ask(opened: Package, image: Float32Array, of: number): Promise<{ margin: number; gradient: Float64Array }> {
  const outputs = await run(opened, "explain.onnx", [image], ["logits", "gradient"]);
  const [logits, gradients] = [numbersOf(outputs, "logits", 0), outputs["gradient"]!.data as Float32Array];
  const most = Math.max(...logits);
  const shares = logits.map((logit) => Math.exp(logit - most));
  const total = shares.reduce((sum, share) => sum + share, 0);
  const gradient = new Float64Array(image.length);
  shares.forEach((share, label) => {
    const weight = share / total - (label === of ? 1 : 0);
    for (let at = 0; at < gradient.length; at++) gradient[at]! += weight * gradients[label * gradient.length + at]!;
  });
  return { margin: logits[of]! - Math.max(...logits.filter((_, label) => label !== of)), gradient };
}

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((total, value) => total + value * value, 0));

function direction(gradient: Float64Array, kind: Ball["norm"]): Float64Array {
  if (kind === "linf") return gradient.map(Math.sign);
  const length = Math.max(norm(gradient), 1e-12);
  return gradient.map((value) => value / length);
}

/** A change that ends anywhere in the ball, uniformly. */
function somewhereIn({ norm: kind, epsilon, image }: Ball, random: () => number): Float64Array {
  if (kind === "linf") return Float64Array.from(image, () => epsilon * (2 * random() - 1));
  const normal = Float64Array.from(image, () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
  const length = (epsilon * random() ** (1 / image.length)) / norm(normal);
  return normal.map((value) => value * length);
}

const moved = (image: Float32Array, by: Float64Array, size: number): Float64Array =>
  Float64Array.from(image, (value, at) => value + size * by[at]!);

/** The nearest point in ball and box; in exact arithmetic, too, it is no farther than epsilon. */
function projected({ image, norm: kind, epsilon }: Ball, other: Float64Array): Float32Array {
  const change = other.map((value, at) => Math.min(1, Math.max(0, value)) - image[at]!);
  const length = kind === "l2" ? norm(change) : 0;
  const within = kind === "linf"
    ? change.map((value) => Math.min(epsilon, Math.max(-epsilon, value)))
    : change.map((value) => (length > epsilon ? value * (epsilon / length) * (1 - 1e-12) : value));
  return Float32Array.from(within, (value, at) => roundedTowards(image[at]!, value));
}

const asNumber = new Float32Array(1);
const asBits = new Int32Array(asNumber.buffer);
/** centre + change as float32, rounded towards the centre; both lie in [0, 1]. */
function roundedTowards(centre: number, change: number): number {
  asNumber[0] = centre + change;
  if (Math.abs(asNumber[0]! - centre) > Math.abs(change)) asBits[0]! -= Math.sign(change);
  return asNumber[0]!;
}

/** The same numbers between 0 and 1 for the same seed (mulberry32), so that an attack gives the same result twice. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
