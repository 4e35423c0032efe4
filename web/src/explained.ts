// What an explanation says, exactly: shares of shapes and of pixels, all from the numbers of /v1/explain.
import type { Explanation, Grid, Sheet } from "./api";
import { signed } from "./numbers";

export interface Addend { shape: number | null; name: string; value: number }

const MOST_BARS = 9;
const SILENT = 5e-4;

export const labelsOf = (prediction: { logits: Record<string, number> }): string[] => Object.keys(prediction.logits);

/** Whether a label is too long to be shown as large as a digit. */
export const isWord = (label: string): boolean => label.length > 2;

/** Labels from the largest logit to the smallest. */
export function ranked(prediction: { logits: Record<string, number> }): string[] {
  return labelsOf(prediction).sort((a, b) => prediction.logits[b]! - prediction.logits[a]!);
}

/** What adds up to a logit, the largest first and the smallest in one, as the figure of the service has it. */
export function addends(explanation: Explanation, label: string): Addend[] {
  const found = explanation.claims[label]!.contributions;
  const order = found.map((_, shape) => shape).sort((a, b) => Math.abs(found[b]!) - Math.abs(found[a]!));
  const shown = order.slice(0, MOST_BARS).filter((shape) => Math.abs(found[shape]!) >= SILENT);
  const rest = order.filter((shape) => !shown.includes(shape));
  const bars: Addend[] = shown.map((shape) => ({
    shape, name: `shape ${shape}, of ${explanation.shapes[shape]!.speaks_for}`, value: found[shape]!,
  }));
  const others = rest.reduce((total, shape) => total + found[shape]!, 0);
  if (Math.abs(others) >= SILENT) bars.push({ shape: null, name: `${rest.length} others together`, value: others });
  return bars;
}

/** The shape that adds most to a class: its best own one, where own shapes carry the claims. */
export function bestShape(explanation: Explanation, label: string): number {
  const found = explanation.claims[label]!.contributions;
  return found.reduce((best, value, shape) => (value > found[best]! ? shape : best), 0);
}

/** The explanation in words, as the service's figure says it. */
export function sentence(explanation: Explanation, answer: string, other: string): string {
  const part = (label: string): [number, string, string] => {
    const shape = bestShape(explanation, label);
    return [shape, signed(explanation.claims[label]!.contributions[shape]!, 2), signed(explanation.logits[label]!, 2)];
  };
  const [own, ownAdds, logit] = part(answer);
  const [rival, rivalAdds, otherLogit] = part(other);
  return (
    `${answer}, not ${other}: shape ${own} adds ${ownAdds} to a logit of ${logit}; ` +
    `of ${other}, shape ${rival} adds ${rivalAdds} to ${otherLogit}`
  );
}

const mapGrid = (grid: Grid, value: (y: number, x: number) => number): Grid =>
  grid.map((row, y) => row.map((_, x) => value(y, x)));

/** What a shape's contribution to a class is made of, at each pixel of the bright map: it sums to the contribution. */
export function shareOnBright(explanation: Explanation, label: string, shape: number): Grid {
  const { activation, template } = explanation.shapes[shape]!;
  const weight = activation > 0 ? explanation.claims[label]!.contributions[shape]! / activation : 0;
  return mapGrid(template, (y, x) => weight * template[y]![x]! * explanation.bright.values[y]![x]!);
}

/** The same at each pixel of the two-step map: the winning kernels carry it there. */
export function shareOnTwoStep(explanation: Explanation, label: string, shape: number, kernels: Sheet["kernels"]): Grid {
  const { activation, template } = explanation.shapes[shape]!;
  const { values, kernel, rotation } = explanation.bright;
  const side = kernels[0]![0]!.length;
  const reach = Math.floor(side / 2);
  const weight = activation > 0 ? explanation.claims[label]!.contributions[shape]! / activation : 0;
  const carried = mapGrid(values, () => 0);
  values.forEach((row, y) =>
    row.forEach((value, x) => {
      const here = (weight * template[y]![x]!) / side;
      if (value <= 0 || here === 0) return;
      kernels[kernel[y]![x]!]![rotation[y]![x]!]!.forEach((taps, dy) =>
        taps.forEach((tap, dx) => {
          const line = carried[y + dy - reach];
          if (line?.[x + dx - reach] !== undefined) line[x + dx - reach]! += here * tap;
        }),
      );
    }),
  );
  return mapGrid(carried, (y, x) => carried[y]![x]! * explanation.two_step[y]![x]!);
}

/** How much of a shape's contribution comes from one pixel of the bright map. */
export function pixelInBar(explanation: Explanation, label: string, shape: number, y: number, x: number): number {
  const { activation, template } = explanation.shapes[shape]!;
  if (activation <= 0) return 0;
  return (explanation.claims[label]!.contributions[shape]! / activation) * template[y]![x]! * explanation.bright.values[y]![x]!;
}
