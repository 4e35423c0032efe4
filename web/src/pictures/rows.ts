// The rows of the logical layer: what every shape is worth to every class, a cell each.
import { svg, type SVGTemplateResult } from "lit-html";
import type { Sheet } from "../api";
import { signed, strongest } from "../numbers";
import { LETTER } from "./waterfall";

const [LOWEST, TALLEST] = [14, 28];

export const labelsOfRows = ({ shapes }: Sheet): string[] => [...new Set(shapes.map(({ speaks_for }) => String(speaks_for)))];

export function rowsPicture(sheet: Sheet, width: number): SVGTemplateResult {
  const labels = labelsOfRows(sheet);
  const names = LETTER * Math.max(...labels.map(({ length }) => length)) + 14;
  const cell = (width - names) / sheet.shapes.length;
  const gap = cell > 6 ? 1 : 0;
  const row = Math.min(TALLEST, Math.max(LOWEST, cell));
  const most = strongest(labels.flatMap((label) => sheet.rows[label]!));
  const height = labels.length * row;
  const cells = labels.flatMap((label, at) =>
    sheet.rows[label]!.map((weight, shape) => svg`<rect class=${weight < 0 ? "against" : "for"} x=${names + shape * cell} y=${at * row} width=${cell - gap} height=${row - 1} opacity=${Math.abs(weight) / most}><title>shape ${shape} for ${label}: ${signed(weight)}</title></rect>`),
  );
  const own = labels.map((label, at) => {
    const first = sheet.shapes.findIndex(({ speaks_for }) => String(speaks_for) === label);
    const count = sheet.shapes.filter(({ speaks_for }) => String(speaks_for) === label).length;
    return svg`<rect class="own" x=${names + first * cell - 0.5} y=${at * row - 0.5} width=${count * cell - gap + 1} height=${row} />`;
  });
  return svg`<svg class="rows" viewBox="0 -1 ${width} ${height + 2}" width=${width} height=${height + 2} role="img" aria-label="What every shape is worth to every class">
    ${cells}${own}
    ${labels.map((label, at) => svg`<text x="0" y=${at * row + row / 2 + 4}>${label}</text>`)}
  </svg>`;
}
