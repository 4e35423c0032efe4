// What adds up to a logit: bars that begin where the one before ended, and end at the logit.
import { scaleLinear, type ScaleLinear } from "d3-scale";
import { nothing, svg, type SVGTemplateResult } from "lit-html";
import type { Explanation } from "../api";
import { addends, pixelInBar, type Addend } from "../explained";
import { signed, strongest, sum } from "../numbers";
import type { Focus } from "../state";

const ROW = 22;
const NAMES = 124;
/** What a letter of a name takes, in pixels. */
export const LETTER = 7.2;
const NUMBERS = 62;

/** The axis that waterfalls side by side share. */
export function sharedScale(lists: Addend[][], width: number): ScaleLinear<number, number> {
  const sums = lists.flatMap((list) => list.reduce((sums, { value }) => [...sums, sums.at(-1)! + value], [0]));
  const names = Math.max(NAMES, ...lists.flat().map(({ name }) => LETTER * name.length));
  return scaleLinear([Math.min(0, ...sums), Math.max(0, ...sums)], [names + 8, width - NUMBERS - 8]);
}

export interface WaterfallOptions {
  width: number;
  scale: ScaleLinear<number, number>;
  focus: Focus | null;
  onFocus: (focus: Focus | null) => void;
}

export const waterfallHeight = (explanation: Explanation, label: string): number => (addends(explanation, label).length + 1) * ROW + 10;

export function waterfall(explanation: Explanation, label: string, options: WaterfallOptions): SVGTemplateResult {
  const { width, scale } = options;
  const bars = addends(explanation, label);
  const height = waterfallHeight(explanation, label);
  const end = sum(bars.map(({ value }) => value));
  let start = 0;
  const rows = bars.map((addend, row) => {
    const drawn = bar(explanation, label, addend, start, row * ROW, options);
    start += addend.value;
    return drawn;
  });
  const bottom = bars.length * ROW + 4;
  const logit = explanation.logits[label]!;
  return svg`<svg class="waterfall" viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="group"
      aria-label=${`What adds up to the logit of ${label}: ${bars.length} bars, sum ${signed(logit)}`}>
    <line class="axis" x1=${scale(0)} x2=${scale(0)} y1="0" y2=${bottom} />
    ${rows}
    <line class="total" x1=${scale(end)} x2=${scale(end)} y1=${Math.max(0, bottom - ROW - 2)} y2=${bottom + ROW - 4} />
    <text class="total-name" x="0" y=${bottom + 16}>sum = logit of ${label}</text>
    <text class="total-number" x=${width} y=${bottom + 16} text-anchor="end">${signed(logit)}</text>
  </svg>`;
}

function bar(explanation: Explanation, label: string, addend: Addend, start: number, top: number, { width, scale, focus, onFocus }: WaterfallOptions): SVGTemplateResult {
  const [left, right] = [scale(start), scale(start + addend.value)].sort((a, b) => a - b) as [number, number];
  const isFocused = focus?.kind === "shape" && focus.shape === addend.shape && focus.label === label;
  const point = addend.shape === null ? null : ({ kind: "shape", shape: addend.shape, label } as const);
  return svg`<g class="bar ${isFocused ? "is-focused" : ""}" tabindex=${point ? 0 : nothing} role="img" aria-label="${addend.name}: ${signed(addend.value)}"
      @pointerenter=${() => onFocus(point)} @pointerleave=${() => onFocus(null)} @focus=${() => onFocus(point)} @blur=${() => onFocus(null)}>
    <rect class="row" x="0" y=${top} width=${width} height=${ROW} />
    <text class="name" x="0" y=${top + 15}>${addend.name}</text>
    <line class="step" x1=${scale(start)} x2=${scale(start)} y1=${top - 4} y2=${top + ROW - 4} />
    <rect class=${addend.value > 0 ? "for" : "against"} x=${left} y=${top + 4} width=${Math.max(1, right - left)} height=${ROW - 8} />
    ${share(explanation, label, addend, start, top, scale, focus)}
    <text class="number" x=${width} y=${top + 15} text-anchor="end">${signed(addend.value)}</text>
  </g>`;
}

/** How much of a bar the pixel adds that is pointed at. */
function share(explanation: Explanation, label: string, { shape }: Addend, start: number, top: number, scale: ScaleLinear<number, number>, focus: Focus | null): SVGTemplateResult | typeof nothing {
  if (focus?.kind !== "pixel" || shape === null) return nothing;
  const part = pixelInBar(explanation, label, shape, focus.place.y, focus.place.x);
  if (!part) return nothing;
  const [left, right] = [scale(start), scale(start + part)].sort((a, b) => a - b) as [number, number];
  return svg`<rect class="share" x=${left} y=${top + 2} width=${Math.max(1.5, right - left)} height=${ROW - 4} />`;
}

export const strongestOf = (grid: number[][]): number => strongest(grid.flat());
