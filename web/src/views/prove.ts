// Prove it: what is certified, what is falsified, and what nobody knows, along epsilon.
import { backend } from "#backend";
import { scaleLinear } from "d3-scale";
import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from "lit-html";
import { live } from "lit-html/directives/live.js";
import { proveAt } from "../asking";
import { ranked } from "../explained";
import { plain, signed } from "../numbers";
import "../pictures/pixel-map";
import type { MapData } from "../pictures/pixel-map";
import type { Knowledge, State } from "../state";
import { limit } from "./limit";
import { pictureTools } from "./picture-tools";

const MOST = 0.5;
const HEIGHT = 74;
const EDGE = 10;

export function proveView(state: State, width: number): TemplateResult {
  const { explanation, knowledge, epsilon, certifying, certifyProblem } = state;
  return html`<section id="prove" aria-labelledby="prove-title" aria-busy=${certifying}>
    <header class="section-head">
      <h2 id="prove-title">Prove it</h2>
      <p class="says" aria-live="polite">${explanation ? (certifyProblem ? html`<span class="problem">${certifyProblem.message}</span>` : verdict(state)) : "How far every pixel may move before the answer can change."}</p>
      ${limit(backend.limits.proofs)}
    </header>
    <figure class="picture epsilon">
      <label for="epsilon">Every pixel may change by up to <output>\u03b5 = ${epsilon.toFixed(3)}</output></label>
      <div class="axis-and-slider">
        ${band(knowledge, epsilon, width)}
        <input id="epsilon" type="range" min="0" max=${MOST} step="0.005" .value=${live(String(epsilon))} ?disabled=${!explanation}
          aria-describedby="prove-words" @input=${(event: Event) => proveAt(Number((event.target as HTMLInputElement).value))} />
      </div>
      <p class="legend" id="prove-words"><span><span class="key certified"></span>certified: no attack can succeed, proved</span>
        <span><span class="key unknown"></span>unknown</span> <span><span class="key falsified"></span>falsified: an image was found</span></p>
      ${knowledge ? pictureTools("what is known along epsilon", { head: ["from", "to", "what is known"], rows: ranges(knowledge) }) : nothing}
    </figure>
    ${stays(state)}
    ${counterexample(state)}
  </section>`;
}

function verdict({ knowledge, epsilon, certifying, explanation }: State): TemplateResult | string {
  const answer = ranked(explanation!)[0]!;
  if (!knowledge || (knowledge.asked === null && !knowledge.falsified)) return certifying ? "Looking for a proof\u2026" : "Move the slider, and the network is asked for a proof.";
  const radius = knowledge.radius === null ? "" : ` The proof holds up to ${plain(knowledge.radius)}.`;
  if (epsilon <= knowledge.certified) {
    const margin = knowledge.last?.verdict === "certified" && knowledge.asked === epsilon ? ` ${answer} leads by at least ${signed(knowledge.last.margin_lower_bound)}.` : "";
    return html`<strong>Proved:</strong> no change of up to ${plain(epsilon)} a pixel can make it say anything but ${answer}.${margin}${radius}`;
  }
  if (knowledge.falsified !== null && epsilon >= knowledge.falsified) {
    return html`<strong>Falsified:</strong> an image within ${plain(knowledge.falsified)} of this one is taken for something else.${radius}`;
  }
  if (certifying || knowledge.asked !== epsilon) return html`Looking for a proof or a counterexample at ${plain(epsilon)}\u2026`;
  return html`<strong>Unknown</strong> at ${plain(epsilon)}: neither a proof nor an attack was found.${radius}`;
}

// Whether the ball also holds images that look different to the network: proved, or nothing is said.
function stays({ knowledge, epsilon }: State): TemplateResult | typeof nothing {
  const within = (known: number | null | undefined): boolean => (known ?? null) !== null && epsilon <= known!;
  if (within(knowledge?.typical)) return html`<p class="stays"><strong>Proved, too:</strong> every such image looks like what it was trained on.</p>`;
  if (within(knowledge?.untypical)) return html`<p class="stays"><strong>Proved, too:</strong> no such image looks like what it was trained on: do not rely on the answer.</p>`;
  return nothing;
}

function ranges({ certified, falsified }: Knowledge): string[][] {
  const known = [["0.000", certified.toFixed(3), "certified"]];
  if (falsified !== null) return [...known, [certified.toFixed(3), falsified.toFixed(3), "unknown"], [falsified.toFixed(3), "and more", "falsified"]];
  return [...known, [certified.toFixed(3), "and more", "unknown"]];
}

function band(knowledge: Knowledge | null, epsilon: number, width: number): SVGTemplateResult {
  const x = scaleLinear([0, MOST], [EDGE, width - EDGE]);
  const certified = Math.min(MOST, knowledge?.certified ?? 0);
  const falsified = Math.min(MOST, knowledge?.falsified ?? MOST);
  const part = (from: number, to: number, kind: string): SVGTemplateResult | typeof nothing =>
    to > from ? svg`<rect class=${kind} x=${x(from)} y="22" width=${x(to) - x(from)} height="22" />` : nothing;
  return svg`<svg class="band" viewBox="0 0 ${width} ${HEIGHT}" width=${width} height=${HEIGHT} aria-hidden="true">
    ${part(certified, falsified, "unknown")}${part(0, certified, "certified")}${part(falsified, MOST, "falsified")}
    ${knowledge && certified > 0 && certified < MOST ? radiusMark(x(certified), certified, width) : nothing}
    <line class="here" x1=${x(epsilon)} x2=${x(epsilon)} y1="16" y2="50" />
    ${x.ticks(width > 500 ? 10 : 5).map((tick) => svg`<g class="tick"><line x1=${x(tick)} x2=${x(tick)} y1="44" y2="48" /><text x=${x(tick)} y="62" text-anchor="middle">${tick}</text></g>`)}
  </svg>`;
}

function radiusMark(left: number, radius: number, width: number): SVGTemplateResult {
  const atEnd = left > width - 150;
  return svg`<g class="radius"><line x1=${left} x2=${left} y1="12" y2="44" /><text x=${left + (atEnd ? -4 : 4)} y="14" text-anchor=${atEnd ? "end" : "start"}>certified radius ${radius.toFixed(3)}</text></g>`;
}

const shown = new WeakMap<object, MapData>();
function counterexample({ knowledge, epsilon }: State): TemplateResult | typeof nothing {
  const found = knowledge?.last?.counterexample;
  if (!found || knowledge.asked !== epsilon) return nothing;
  if (!shown.has(found)) shown.set(found, { ink: found.image });
  return html`<figure class="counterexample">
    <pixel-map .data=${shown.get(found)}></pixel-map>
    <figcaption>The counterexample: no pixel differs by more than ${plain(found.distance.linf)}, and the network says
      <strong>${found.prediction.label}</strong> (${plain(found.prediction.confidence, 4)}).</figcaption>
  </figure>`;
}
