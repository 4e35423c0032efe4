// The model: what it is, what it holds, how it came to be.
import { html, nothing, type TemplateResult } from "lit-html";
import { guard } from "lit-html/directives/guard.js";
import type { Grid, Results, Sheet } from "../api";
import { count, percent, signed, strongest } from "../numbers";
import "../pictures/pixel-map";
import type { MapData } from "../pictures/pixel-map";
import { labelsOfRows, rowsPicture } from "../pictures/rows";
import { pictureTools, type Numbers } from "./picture-tools";
import { rotationsOf } from "./see";
import type { State } from "../state";

export function modelView(state: State, width: number): TemplateResult {
  const { details, model } = state;
  return html`<section id="model" aria-labelledby="model-title">
    <header class="section-head">
      <h2 id="model-title">The model</h2>
      <p class="says">${details ? html`<strong>${details.name}</strong>, version ${details.version}, tells ${list(details.labels.map(String))} apart${details.manifest.num_parameters === undefined ? "" : ` with ${count(details.manifest.num_parameters)} parameters`}. Whatever it is shown, it says one of these.` : (model?.name ?? "No model is loaded.")}</p>
    </header>
    ${details ? facts(state) : nothing}
    ${state.sheet ? sheetView(state, state.sheet, width) : nothing}
  </section>`;
}

const list = (words: string[]): string => (words.length > 2 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words.join(" and "));

function facts({ details }: State): TemplateResult {
  const { manifest, digest } = details!;
  const { config, training } = manifest;
  const number = (name: string): string => String(config[name] ?? "\u2013");
  const shapes = Number(config["shapes_per_class"] ?? 0) * details!.labels.length;
  const rows: [string, string][] = [
    ["image", `${manifest.input?.height ?? number("height")} \u00d7 ${manifest.input?.width ?? number("width")}, grey`],
    ["kernels", `${number("kernels")} of ${number("kernel_size")} \u00d7 ${number("kernel_size")}, in ${number("rotations")} rotations`],
    ["shapes", `${shapes} of ${number("shape_size")} \u00d7 ${number("shape_size")}, in ${number("poses")} poses each`],
    ["recipe", `${training?.recipe?.title ?? training?.recipe?.name ?? "\u2013"}${training?.recipe?.epochs ? `, ${training.recipe.epochs} epochs` : ""}, seed ${training?.seed ?? "\u2013"}`],
    ["trained on", training?.data ? `${training.data.source}: ${count(training.data.count ?? 0)} images` : "\u2013"],
    ["digest", digest],
  ];
  return html`${table(rows)}
    <h3>Measured</h3>
    ${manifest.results ? table(measured(manifest.results)) : html`<p class="muted">This package holds no results of an evaluation.</p>`}`;
}

const table = (rows: [string, string][]): TemplateResult =>
  html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** The results of the card that came with the package. */
function measured({ data, clean, attacks = [], worst_case: worst, certified = [] }: Results): [string, string][] {
  const radii = [...new Set(certified.map(({ epsilon }) => epsilon))];
  // By any bound: what is proved at a radius is proved at every smaller one.
  const proved = (radius: number): number => Math.max(...certified.filter(({ epsilon }) => epsilon >= radius).map((each) => each.certified_accuracy));
  return [
    ["right", clean ? `${percent(clean.accuracy)} of ${count(data?.count ?? 0)} images (${data?.source ?? "\u2013"})` : "\u2013"],
    ["right under every attack", worst ? `${percent(worst.robust_accuracy)} at ${worst.epsilon} (${list(attacks.map(({ name }) => name))})` : "\u2013"],
    ["right and proved", radii.map((radius) => `${percent(proved(radius))} at ${radius}`).join(", ") || "\u2013"],
  ];
}

const tables = new WeakMap<Sheet, Numbers>();
function rowsTable(sheet: Sheet): Numbers {
  if (!tables.has(sheet)) {
    tables.set(sheet, {
      head: ["class", ...sheet.shapes.map((_, shape) => `shape ${shape}`)],
      rows: labelsOfRows(sheet).map((label) => [label, ...sheet.rows[label]!.map((weight) => signed(weight))]),
    });
  }
  return tables.get(sheet)!;
}

const MANY = 24;
const drawn = new WeakMap<object, MapData>();
function signedMap(of: Grid, most?: number): MapData {
  if (!drawn.has(of)) drawn.set(of, { ink: of.map((row) => row.map(() => 0)), signed: of, most: most ?? strongest(of.flat()) });
  return drawn.get(of)!;
}

function sheetView(state: State, sheet: Sheet, width: number): TemplateResult {
  const { kernels, shapes, rows } = sheet;
  const rotations = rotationsOf(state);
  const every = Math.max(1, Math.round(rotations / 8));
  const list = html`<div class="shape-sheet">${shapes.map(({ speaks_for, base }, index) => html`<figure>
      <pixel-map class="small" role="img" aria-label="shape ${index} of ${speaks_for}" .data=${signedMap(base)}></pixel-map>
      <figcaption>${index}, of ${speaks_for}<br /><span class="muted">${signed(rows[String(speaks_for)]![index]!, 2)}</span></figcaption>
    </figure>`)}</div>`;
  return html`<div class="sheet">
    <h3>Kernels, in ${every === 1 ? "all" : `${Math.ceil(rotations / every)} of`} ${rotations} rotations</h3>
    <p class="muted">Each is laid on every patch of the two-step map; the best of all gives the bright map.</p>
    ${kernels.map((turned, kernel) => html`<figure><div class="kernel-row" role="img" aria-label="kernel ${kernel} in its rotations">
      ${turned.filter((_, at) => at % every === 0).map((taps) => html`<pixel-map class="small" .data=${signedMap(taps, strongest(kernels[kernel]!.flat(2)))}></pixel-map>`)}
    </div>${pictureTools(`kernel ${kernel}, not turned`, turned[0]!)}</figure>`)}
    <h3>Shapes, and the weight of each for its own class</h3>
    <p class="muted">Where ink speaks for a shape it is blue and solid, where against, orange and hatched.</p>
    ${shapes.length > MANY ? html`<details><summary>all ${shapes.length} shapes</summary>${list}</details>` : list}
    <h3>Rows: what every shape is worth to every class</h3>
    <p class="muted">A row a class, a column a shape; framed are the class's own shapes. A claim is the activations times their row.</p>
    <figure class="picture">${guard([sheet, width], () => rowsPicture(sheet, width))}${pictureTools("what every shape is worth to every class", rowsTable(sheet))}</figure>
  </div>`;
}
