// Attack it: an attack's progress, the way from the image to the adversarial one, and both explanations.
import { backend } from "#backend";
import { scaleLinear } from "d3-scale";
import { line } from "d3-shape";
import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from "lit-html";
import { live } from "lit-html/directives/live.js";
import type { Explanation, Grid } from "../api";
import { between, runAttack, stopAttack } from "../asking";
import { ATTACKS } from "../attacks";
import { addends, bestShape, ranked, sentence } from "../explained";
import { count, percent, plain, signed, strongest } from "../numbers";
import "../pictures/pixel-map";
import type { MapData } from "../pictures/pixel-map";
import { sharedScale, waterfall } from "../pictures/waterfall";
import { NO_ATTACK, radiusOf, updateAttack, type AttackState, type State } from "../state";
import { icon } from "./icons";
import { limit } from "./limit";
import { pictureTools } from "./picture-tools";

const MOST_EPSILON = { linf: 0.5, l2: 6 };

export function attackView(state: State, width: number, barsWidth: number): TemplateResult {
  const { attack } = state;
  return html`<section id="attack" aria-labelledby="attack-title" aria-busy=${attack.running !== null}>
    <header class="section-head">
      <h2 id="attack-title">Attack it</h2>
      <p class="says" aria-live="polite">${says(attack)}</p>
      ${limit(backend.limits.attacks)}
    </header>
    ${controls(state)}
    ${attack.running || attack.progress.length > 1 ? progress(attack, width) : nothing}
    ${attack.outcome && attack.before && attack.explanation ? outcome(attack, width, barsWidth) : nothing}
  </section>`;
}

function says({ running, outcome, problem, progress }: AttackState): TemplateResult | string {
  if (problem) return html`<span class="problem">${problem.message}</span>`;
  if (running) return `At work: ${count(progress.at(-1)?.queries ?? 0)} queries so far.`;
  if (!outcome) return "Somebody who knows the network looks for an image nearby that it takes for something else.";
  const { linf, l2 } = outcome.distance;
  return outcome.success
    ? html`<strong>It worked:</strong> ${outcome.original.label} became ${outcome.adversarial.label} after ${count(outcome.queries)} queries, no pixel changed by more than ${plain(linf)} (L2 ${plain(l2)}).`
    : html`<strong>It failed:</strong> still ${outcome.adversarial.label} after ${count(outcome.queries)} queries. Below is its best attempt.`;
}

function controls(state: State): TemplateResult {
  const { attack, explanation } = state;
  const { options, running } = attack;
  const radius = radiusOf(state) ?? NO_ATTACK.options.epsilon;
  const choose = (change: Partial<AttackState["options"]>): void => updateAttack({ options: { ...options, ...change } });
  const value = (event: Event): string => (event.target as HTMLInputElement).value;
  const most = MOST_EPSILON[options.norm];
  return html`<form class="controls" @submit=${(event: Event) => { event.preventDefault(); void (running ? stopAttack() : runAttack()); }}>
    <label>Attack<select @change=${(event: Event) => choose({ attack: value(event) })}>
      ${ATTACKS.filter(({ name }) => backend.attacks.includes(name)).map(({ name, about }) => html`<option value=${name} ?selected=${name === options.attack}>${name}: ${about}</option>`)}
    </select></label>
    <label>Distance<select @change=${(event: Event) => choose(value(event) === "l2" ? { norm: "l2", epsilon: 3 } : { norm: "linf", epsilon: radius })}>
      <option value="linf" ?selected=${options.norm === "linf"}>every pixel (L-inf)</option>
      <option value="l2" ?selected=${options.norm === "l2"}>all together (L2)</option>
    </select></label>
    <label class="strength">Strength <output>\u03b5 = ${options.epsilon.toFixed(2)}</output>
      <input type="range" min="0" max=${most} step=${most / 50} .value=${live(String(options.epsilon))} @input=${(event: Event) => choose({ epsilon: Number(value(event)) })} /></label>
    <button type="submit" class="primary" ?disabled=${!explanation}>${running ? html`${icon("stop")}Stop` : html`${icon("play")}Attack`}</button>
  </form>`;
}

/** The margin that is left to the answer, query by query: below 0 the attack has won. */
function progress({ progress, running }: AttackState, width: number): TemplateResult {
  const last = progress.at(-1);
  const x = scaleLinear([0, Math.max(1, last?.queries ?? 1)], [0, width]);
  const margins = progress.map(({ margin }) => margin);
  const y = scaleLinear([Math.min(0, ...margins), Math.max(1, ...margins)], [52, 4]);
  const path = line<(typeof progress)[number]>((each) => x(each.queries), (each) => y(each.margin))(progress) ?? "";
  return html`<figure class="picture progress">
    <svg viewBox="0 0 ${width} 56" width=${width} height="56" role="img" aria-label="Margin of the answer as the attack goes on, now ${last ? signed(last.margin) : "not known"}">
      ${svg`<line class="axis" x1="0" x2=${width} y1=${y(0)} y2=${y(0)} /><path class="margin" d=${path} />`}
    </svg>
    <figcaption>${last ? html`smallest margin so far <strong>${signed(last.margin)}</strong> after ${count(last.queries)} queries` : running ? "starting; the first attack waits until its worker is there" : nothing}</figcaption>
  </figure>`;
}

const remembered = new WeakMap<object, Map<string, MapData>>();
function kept(of: object, name: string, make: () => MapData): MapData {
  if (!remembered.has(of)) remembered.set(of, new Map());
  const found = remembered.get(of)!;
  if (!found.has(name)) found.set(name, make());
  return found.get(name)!;
}

function outcome(attack: AttackState, width: number, barsWidth: number): TemplateResult {
  const { before, outcome, frames, frame } = attack;
  const last = frames.length - 1;
  const difference = kept(outcome!, "difference", () => ({ ink: before!.image, fade: 0.25, signed: minus(outcome!.image, before!.image) }));
  const onTheWay = kept(outcome!, `frame ${frame}`, () => ({ ink: between(before!.image, outcome!.image, frame / last) }));
  return html`<div class="way">
      ${picture("original", kept(outcome!, "original", () => ({ ink: before!.image })), before!.image, String(outcome!.original.label), outcome!.original.confidence)}
      ${picture("difference", difference, minus(outcome!.image, before!.image))}
      ${picture("adversarial", kept(outcome!, "adversarial", () => ({ ink: outcome!.image })), outcome!.image, String(outcome!.adversarial.label), outcome!.adversarial.confidence)}
      <figure class="scrub picture">
        <figcaption><span class="layer-title">on the way: ${Math.round((100 * frame) / last)}%</span></figcaption>
        <div class="scrub-row"><pixel-map .data=${onTheWay}></pixel-map>${course(attack, Math.max(120, width))}</div>
        <input type="range" min="0" max=${last} step="1" .value=${live(String(frame))} aria-label="Frame between the original and the adversarial image"
          aria-valuetext="${Math.round((100 * frame) / last)}%: the network says ${frames[frame]!.label}, ${percent(frames[frame]!.confidence)}"
          @input=${(event: Event) => updateAttack({ frame: Number((event.target as HTMLInputElement).value) })} />
        <p class="muted">Each frame is asked: here it says <strong>${frames[frame]!.label}</strong>, ${percent(frames[frame]!.confidence)}.</p>
      </figure>
    </div>
    <div class="two-explanations">${sideBySide(attack, barsWidth)}</div>`;
}

/** The probability of the true class and of the adversarial one, frame by frame. */
function course({ frames, frame, outcome }: AttackState, width: number): SVGTemplateResult {
  const x = scaleLinear([0, frames.length - 1], [6, width - 6]);
  const y = scaleLinear([0, 1], [104, 8]);
  const path = (label: string): string => line<number>((_, at) => x(at), (share) => y(share))(frames.map((each) => each.probabilities[label]!)) ?? "";
  const other = String(outcome!.adversarial.label) === String(outcome!.label) ? ranked(outcome!.adversarial)[1]! : String(outcome!.adversarial.label);
  return svg`<svg class="course" viewBox="0 0 ${width} 112" width=${width} height="112" role="img" aria-label="Probability of ${outcome!.label} and of ${other} from the original to the adversarial image">
    <line class="axis" x1="0" x2=${width} y1=${y(0.5)} y2=${y(0.5)} />
    <path class="true-class" d=${path(String(outcome!.label))} /><path class="other-class" d=${path(other)} />
    <line class="here" x1=${x(frame)} x2=${x(frame)} y1="4" y2="108" />
    <text class="true-class" x="6" y="28">${outcome!.label}</text><text class="other-class" x="6" y="92">${other}</text>
  </svg>`;
}

const minus = (a: Grid, b: Grid): Grid => a.map((row, y) => row.map((value, x) => value - b[y]![x]!));

const scaled = (grid: Grid): Grid => {
  const most = Math.max(strongest(grid.flat()), 1e-9);
  return grid.map((row) => row.map((value) => value / most));
};
const small = (title: string, data: MapData): TemplateResult =>
  html`<figure class="layer"><figcaption><span class="layer-title">${title}</span></figcaption><pixel-map role="img" aria-label=${title} .data=${data}></pixel-map></figure>`;

const picture = (title: string, data: MapData, numbers: Grid, label?: string, confidence?: number): TemplateResult =>
  html`<figure class="layer">
    <figcaption><span class="layer-title">${title}</span></figcaption>
    <pixel-map role="img" aria-label=${title} .data=${data}></pixel-map>
    <div class="layer-about"><p>${label === undefined ? `up to ${plain(strongest(numbers.flat()))} a pixel` : html`says <strong>${label}</strong>, ${percent(confidence!)}`}</p></div>
    ${pictureTools(title, numbers, `attack ${title}`)}
  </figure>`;

/** What adds up to the same two logits before and after. */
function sideBySide({ before, explanation }: AttackState, width: number): TemplateResult[] {
  const [first, second] = [before!, explanation!];
  const [answer] = ranked(first);
  const [after] = ranked(second);
  const rival = after === answer ? ranked(second)[1]! : after!;
  const pair = [answer!, rival];
  const scale = sharedScale([first, second].flatMap((each) => pair.map((label) => addends(each, label))), width);
  const options = { width, scale, focus: null, onFocus: () => undefined };
  const side = (title: string, each: Explanation, labels: string[]): TemplateResult => html`<section class="side" aria-label=${title}>
    <h3>${title}: <strong>${labels[0]}</strong></h3><p class="muted">${sentence(each, labels[0]!, labels[1]!)}.</p>
    <div class="side-maps">
      ${small("two-step map", kept(each, "two-step", () => ({ ink: each.two_step.map((row) => row.map((value) => (value + 1) / 2)) })))}
      ${small("bright map", kept(each, "bright", () => ({ ink: scaled(each.bright.values) })))}
      ${labels.map((label) => small(`best shape of ${label}`, kept(each, `shape of ${label}`, () => ({ ink: each.image, fade: 0.28, signed: each.shapes[bestShape(each, label)]!.template }))))}
    </div>
    ${labels.map((label) => html`<div class="picture">${waterfall(each, label, options)}</div>`)}
  </section>`;
  return [side("before", first, pair), side("after", second, after === answer ? pair : [rival, answer!])];
}
