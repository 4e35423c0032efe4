// See through: the four layers from left to right, for the answer and for one other class.
import { html, nothing, type TemplateResult } from "lit-html";
import type { Explanation, Grid } from "../api";
import { compareWith } from "../asking";
import { addends, bestShape, isWord, labelsOf, pixelInBar, ranked, sentence, shareOnBright, shareOnTwoStep } from "../explained";
import { plain, signed, strongest, sum } from "../numbers";
import "../pictures/pixel-map";
import type { MapData, PixelPlace } from "../pictures/pixel-map";
import { sharedScale, waterfall } from "../pictures/waterfall";
import { update, type Focus, type State } from "../state";
import { pictureTools, type Numbers } from "./picture-tools";

const FADE = 0.28;
export const setFocus = (focus: Focus | null): void => update({ focus });
const point = (event: CustomEvent<PixelPlace | undefined>): void =>
  setFocus(event.detail ? { kind: "pixel", place: event.detail } : null);

export function seeView(state: State, width: number): TemplateResult {
  const { explanation, rival } = state;
  const answer = explanation ? ranked(explanation)[0]! : null;
  return html`<section id="see" aria-labelledby="see-title">
    <header class="section-head">
      <h2 id="see-title">See through</h2>
      <p class="says" aria-live="polite">${explanation && answer && rival ? `${sentence(explanation, answer, rival)}.` : "The four layers, once there is something to see."}</p>
    </header>
    <div class="layers ${explanation ? "" : "is-empty"}">
      <div class="maps">
        ${layer("what the network saw", "after preprocessing, 0 to 1", sawMap(state), state, explanation?.image)}
        ${layer("two-step map", "every pixel OFF, MEH or ON", twoStepMap(state), state, explanation?.two_step, levels())}
        ${layer("bright map", "strokes, in their winning rotation", brightMap(state), state, explanation?.bright.values)}
        ${reading(state)}
      </div>
      <div class="claims">
        ${explanation && answer ? [answer, ...(rival ? [rival] : [])].map((label) => claim(state, explanation, label, [answer, rival], width)) : emptyClaims()}
        <p class="legend"><span><span class="key for"></span>speaks for</span> <span><span class="key against"></span>speaks against</span></p>
      </div>
    </div>
    ${explanation && answer ? whyNot(state, explanation, answer) : nothing}
  </section>`;
}

const emptyClaims = (): TemplateResult => html`<div class="claim"><div class="layer"><pixel-map></pixel-map></div><div class="bars"></div></div>`;

const levels = (): TemplateResult =>
  html`<p class="levels"><span class="level off"></span>OFF<span class="level meh"></span>MEH<span class="level on"></span>ON</p>`;

function layer(title: string, about: string, data: MapData | undefined, { focus }: State, numbers: Grid | undefined, extra: unknown = nothing): TemplateResult {
  return html`<figure class="layer">
    <figcaption><span class="layer-title">${title}</span></figcaption>
    <pixel-map tabindex="0" role="img" aria-label="${title}, ${about}. Arrow keys move from pixel to pixel." .data=${data} .mark=${focus?.kind === "pixel" ? focus.place : undefined} @point=${point}></pixel-map>
    <div class="layer-about">${extra === nothing ? html`<p>${about}</p>` : extra}</div>
    ${numbers ? pictureTools(title, numbers) : nothing}
  </figure>`;
}

/** Keeps what is drawn the same object while its parts are, so that nothing is drawn twice. */
function remembered<T>(make: (...parts: readonly unknown[]) => T): (...parts: readonly unknown[]) => T {
  let last: readonly unknown[] | undefined;
  let made: T;
  return (...parts) => {
    if (!last || parts.some((part, index) => part !== last![index])) {
      made = make(...parts);
      last = parts;
    }
    return made;
  };
}

const normalised = (grid: Grid): Grid => {
  const most = Math.max(strongest(grid.flat()), 1e-9);
  return grid.map((row) => row.map((value) => value / most));
};
const shapeFocus = ({ focus }: State): { shape: number; label: string } | null => (focus?.kind === "shape" ? focus : null);

const saw = remembered((explanation: unknown, faded: unknown) => ({ ink: (explanation as Explanation).image, fade: faded ? FADE : 1 }) as MapData);
const sawMap = (state: State): MapData | undefined => state.explanation ? saw(state.explanation, shapeFocus(state) !== null) : undefined;

const twoStep = remembered((explanation, shape, label, kernels) => {
  const it = explanation as Explanation;
  const ink = it.two_step.map((row) => row.map((value) => (value + 1) / 2));
  if (shape === undefined || !kernels) return { ink, fade: shape === undefined ? 1 : FADE } as MapData;
  return { ink, fade: FADE, signed: shareOnTwoStep(it, label as string, shape as number, kernels as number[][][][]) } as MapData;
});
const twoStepMap = (state: State): MapData | undefined =>
  state.explanation ? twoStep(state.explanation, shapeFocus(state)?.shape, shapeFocus(state)?.label, state.sheet?.kernels) : undefined;

const bright = remembered((explanation, shape, label, rotations) => {
  const it = explanation as Explanation;
  const ink = normalised(it.bright.values);
  const turns = it.bright.rotation.map((row) => row.map((value) => value / (rotations as number)));
  return shape === undefined ? { ink, turns } : { ink, fade: FADE, signed: shareOnBright(it, label as string, shape as number) };
});
const brightMap = (state: State): MapData | undefined =>
  state.explanation ? bright(state.explanation, shapeFocus(state)?.shape, shapeFocus(state)?.label, rotationsOf(state)) : undefined;

export const rotationsOf = ({ details }: State): number => Number(details?.manifest.config["rotations"] ?? 32);

const posed = new Map<string, (...parts: readonly unknown[]) => MapData>();
export function shapeMap(explanation: Explanation, shape: number, place: string): MapData {
  if (!posed.has(place)) {
    posed.set(place, remembered((it, index) => ({
      ink: (it as Explanation).image, fade: FADE, signed: (it as Explanation).shapes[index as number]!.template,
    })));
  }
  return posed.get(place)!(explanation, shape);
}

function claim(state: State, explanation: Explanation, label: string, both: (string | null)[], width: number): TemplateResult {
  const best = bestShape(explanation, label);
  const focused = shapeFocus(state);
  const shown = focused?.label === label ? focused.shape : best;
  const { activation, speaks_for: owner } = explanation.shapes[shown]!;
  const lists = both.filter((each) => each !== null).map((each) => addends(explanation, each));
  const scale = sharedScale(lists, width);
  const isAnswer = label === both[0];
  const onShape = (): void => setFocus({ kind: "shape", shape: shown, label });
  const offShape = (): void => setFocus(null);
  return html`<section class="claim" aria-label="The claim of ${label}">
    <figure class="layer">
      <figcaption><button type="button" class="layer-title quiet" @pointerenter=${onShape} @pointerleave=${offShape} @focus=${onShape} @blur=${offShape}>shape ${shown}, of ${owner}</button></figcaption>
      <pixel-map tabindex="0" role="img" aria-label="Shape ${shown} in its pose over the image, activation ${plain(activation)}. Arrow keys move from pixel to pixel."
        .data=${shapeMap(explanation, shown, isAnswer ? "answer" : "rival")} .mark=${state.focus?.kind === "pixel" ? state.focus.place : undefined} @point=${point}></pixel-map>
      <div class="layer-about"><p>activation ${plain(activation)}</p></div>
      ${pictureTools(`shape ${shown} in its pose`, explanation.shapes[shown]!.template, `shape of ${isAnswer ? "answer" : "rival"}`)}
    </figure>
    <div class="bars picture">
      <h3>${isAnswer ? html`The answer: <strong>${label}</strong>` : html`Why not <strong>${label}</strong>?`}</h3>
      ${waterfall(explanation, label, { width, scale, focus: state.focus, onFocus: setFocus })}
      ${pictureTools(`what adds up to the logit of ${label}`, addendTable(explanation, label), `bars of ${isAnswer ? "answer" : "rival"}`)}
    </div>
  </section>`;
}

const addendTable = (explanation: Explanation, label: string): Numbers => ({
  head: ["part", "adds"],
  rows: [...addends(explanation, label).map(({ name, value }) => [name, signed(value, 4)]), [`logit of ${label}`, signed(explanation.logits[label]!, 4)]],
});

/** What is pointed at, in numbers, at every layer. */
function reading({ focus, explanation, rival, sheet, details }: State): TemplateResult {
  if (!explanation) return html`<div class="reading"></div>`;
  const answer = ranked(explanation)[0]!;
  const labels = [answer, ...(rival ? [rival] : [])];
  if (focus?.kind === "pixel") return pixelReading(explanation, labels, focus.place, Number(details?.manifest.config["rotations"] ?? 32));
  if (focus?.kind === "shape") {
    const { shape, label } = focus;
    const total = explanation.claims[label]!.contributions[shape]!;
    const onBright = sum(shareOnBright(explanation, label, shape).flat());
    const onPixels = sheet ? sum(shareOnTwoStep(explanation, label, shape, sheet.kernels).flat()) : null;
    return html`<div class="reading"><p><strong>Shape ${shape}</strong> adds <strong>${signed(total)}</strong> to the logit of ${label}: activation ${plain(explanation.shapes[shape]!.activation)} times its weight. The pixels of the bright map add up to ${signed(onBright)}${onPixels === null ? "" : html`, those of the two-step map to ${signed(onPixels)}`}.</p></div>`;
  }
  return html`<div class="reading"><p class="muted">Point at a pixel, a shape or a bar: its exact share lights up in every layer. Every list of bars is the computation itself and ends at the logit.</p></div>`;
}

function pixelReading(explanation: Explanation, labels: string[], { y, x }: PixelPlace, rotations: number): TemplateResult {
  const at = (grid: Grid): number => grid[y]![x]!;
  const twoStep = at(explanation.two_step);
  const name = twoStep > 0.5 ? "ON" : twoStep < -0.5 ? "OFF" : "MEH";
  const turn = Math.round((360 * at(explanation.bright.rotation)) / rotations);
  return html`<div class="reading"><table>
    <caption>row ${y}, column ${x}</caption>
    <thead><tr><td></td><th scope="col">value</th>${labels.map((label) => html`<th scope="col">adds to ${label}</th>`)}</tr></thead>
    <tbody>
      <tr><th scope="row">image</th><td>${plain(at(explanation.image))}</td>${labels.map(() => html`<td></td>`)}</tr>
      <tr><th scope="row">two-step</th><td>${signed(twoStep, 2)} ${name}</td>${labels.map((label) => html`<td>${signed(at(explanation.attribution[label]!.two_step))}</td>`)}</tr>
      <tr><th scope="row">bright</th><td>${plain(at(explanation.bright.values))} at ${turn}\u00b0</td>${labels.map((label) => html`<td>${signed(at(explanation.attribution[label]!.bright))}</td>`)}</tr>
      <tr><th scope="row">its best shape</th><td></td>${labels.map((label) => html`<td>${signed(pixelInBar(explanation, label, bestShape(explanation, label), y, x))}</td>`)}</tr>
    </tbody></table></div>`;
}

/** Every class with its best shape; any may stand beside the answer. */
function whyNot(state: State, explanation: Explanation, answer: string): TemplateResult | typeof nothing {
  const labels = labelsOf(explanation);
  if (labels.length < 3) return nothing;
  return html`<div class="why-not">
    <h3>Why not another?</h3>
    <div class="choices ${labels.some(isWord) ? "are-words" : ""}" role="group" aria-label="Compare the answer with">
      ${labels.map((label) => {
        const shape = bestShape(explanation, label);
        return html`<button type="button" class="choice" aria-pressed=${label === state.rival} ?disabled=${label === answer} @click=${() => compareWith(label)}>
          <pixel-map .data=${shapeMap(explanation, shape, `choice ${label}`)}></pixel-map>
          <span class="choice-label">${label}</span><span class="choice-logit">${signed(explanation.logits[label]!, 2)}</span>
        </button>`;
      })}
    </div>
  </div>`;
}
