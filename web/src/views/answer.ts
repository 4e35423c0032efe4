// The answer: which class, how sure, what each class has, and whether the image is like anything known.
import { html, nothing, type TemplateResult } from "lit-html";
import type { Prediction } from "../api";
import { isEmpty } from "../drawing";
import { isWord, labelsOf } from "../explained";
import { percent, signed } from "../numbers";
import { labelsOfModel, type State } from "../state";

/** Longer labels are broken. */
const MOST_LETTERS = 14;

export function answerView(state: State, share: TemplateResult): TemplateResult {
  const { prediction, problem, slow, drawing } = state;
  return html`<section class="answer" aria-label="Answer" aria-busy=${slow}>
    <div class="answer-head">
      <output class="answer-label ${prediction ? (isWord(String(prediction.label)) ? "is-word" : "") : "is-empty"}" aria-live="polite">${prediction ? prediction.label : "?"}</output>
      <div class="answer-words">${problem ? problemView(problem) : prediction ? certainty(prediction) : waiting(isEmpty(drawing))}</div>
    </div>
    ${bars(state)}
    <div class="answer-foot"><p class="how-read">${prediction ? howRead(prediction) : "\u00a0"}</p>${share}</div>
  </section>`;
}

const waiting = (empty: boolean): TemplateResult =>
  empty
    ? html`<p class="lead">Nothing drawn yet</p><p class="muted">Draw in the square, pick a sample, or drop or paste an image.</p>`
    : html`<p class="lead">Asking the network</p><p class="muted">The answer is on its way.</p>`;

const problemView = (problem: { slug: string; message: string }): TemplateResult =>
  html`<p class="lead">${problem.slug === "invalid-input" ? "The network cannot read this" : "No answer"}</p>
    <p class="problem" role="alert">${sentenceCase(problem.message)}</p>`;

function certainty(prediction: Prediction): TemplateResult {
  return html`<p class="lead">confidence <strong>${percent(prediction.confidence)}</strong></p>${typicality(prediction)}`;
}

function typicality({ typicality }: Prediction): TemplateResult {
  if (!typicality) return html`<p class="muted">of the classes it knows; it knows no others</p>`;
  const value = typicality.p_value.toFixed(4);
  return typicality.typical
    ? html`<p class="typical">Looks like what it was trained on <span class="muted">(p = ${value})</span></p>`
    : html`<p class="untypical">Unlike anything it was trained on <span>(p = ${value})</span>: do not rely on this answer.</p>`;
}

function bars(state: State): TemplateResult {
  const { prediction, rival } = state;
  const labels = prediction ? labelsOf(prediction) : labelsOfModel(state);
  const longest = Math.max(0, ...labels.map(({ length }) => length));
  return html`<table class="classes" .style=${`--letters: ${Math.min(longest, MOST_LETTERS)}`}>
    <caption class="visually-hidden">Probability and logit of each class</caption>
    <colgroup><col class="class-column" /><col /><col class="number-column" /><col class="number-column" /></colgroup>
    <thead><tr><th scope="col">class</th><th scope="col" class="wide" colspan="2">probability</th><th scope="col">logit</th></tr></thead>
    <tbody>${labels.map((label) => bar(label, prediction, rival))}</tbody>
  </table>`;
}

function bar(label: string, prediction: Prediction | null, rival: string | null): TemplateResult {
  const share = prediction?.probabilities[label];
  const isAnswer = prediction !== null && String(prediction.label) === label;
  return html`<tr class=${isAnswer ? "is-answer" : label === rival ? "is-rival" : ""}>
    <th scope="row">${label}</th>
    <td class="wide"><span class="track"><span class="fill" .style=${`width: ${100 * (share ?? 0)}%`}></span></span></td>
    <td class="number">${share === undefined ? nothing : percent(share)}</td>
    <td class="number muted">${share === undefined ? nothing : signed(prediction!.logits[label]!)}</td>
  </tr>`;
}

function howRead({ preprocessed }: Prediction): TemplateResult | string {
  if (preprocessed === undefined || preprocessed === null) return "\u00a0";
  if (!preprocessed.length) return "Already in the network's form: taken as it is.";
  return html`Brought into the network's form: ${preprocessed.join(" \u2192 ")}.`;
}

const sentenceCase = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
