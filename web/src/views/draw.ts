// Draw, drop, pick or paste.
import { backend } from "#backend";
import { html, nothing, type TemplateResult } from "lit-html";
import { live } from "lit-html/directives/live.js";
import { assetUrl } from "../assets";
import { clear, show, undo } from "../asking";
import { EMPTY, isEmpty, type Stroke } from "../drawing";
import { showPicture, showSample } from "../pictures/files";
import "../pictures/drawing-pad";
import { samplesFor } from "../samples";
import { current, labelsOfModel, type State } from "../state";
import { icon } from "./icons";
import { limit } from "./limit";

let strokesBefore: Stroke[] | null = null;

/** While the pen moves the drawing changes, and only its end can be undone. */
function draw(event: CustomEvent<Stroke>): void {
  const { drawing } = current();
  const first = strokesBefore === null;
  // A pen on a picture begins a drawing of its own; undo brings the picture back.
  if (strokesBefore === null) strokesBefore = drawing.picture ? [] : drawing.strokes;
  show({ strokes: [...strokesBefore, event.detail], picture: null }, { remember: first });
}

function drawn(event: CustomEvent<Stroke>): void {
  draw(event);
  strokesBefore = null;
}

export function drawView(state: State): TemplateResult {
  const nothingDrawn = isEmpty(state.drawing);
  return html`<section class="draw" aria-label="Image">
    <div class="pad">
      <drawing-pad tabindex="0" role="img" aria-label=${padLabel(state)} .drawing=${state.drawing} .box=${state.prediction?.box ?? null} @draw=${draw} @drawn=${drawn} @keydown=${padKeys}></drawing-pad>
      ${nothingDrawn ? html`<p class="pad-hint" aria-hidden="true">draw here</p>` : nothing}
    </div>
    <div class="tools" role="group" aria-label="Drawing">
      <button type="button" @click=${undo} ?disabled=${!state.history.length}>${icon("undo")}Undo</button>
      <button type="button" @click=${clear} ?disabled=${nothingDrawn}>${icon("clear")}Clear</button>
      <label class="button">${icon("image")}Image\u2026<input class="visually-hidden" type="file" accept="image/png,image/jpeg,image/webp" aria-label="Open an image" .value=${live("")} @change=${chooseFile} /></label>
    </div>
    ${samples(state)}
    ${limit(backend.limits.pictures)}
  </section>`;
}

function padLabel({ drawing, prediction }: State): string {
  const shown = drawing.picture ? drawing.picture.name : drawing.strokes.length ? `a drawing of ${drawing.strokes.length} strokes` : "empty";
  const box = drawing.picture ? prediction?.box : null;
  const found = box ? `, the digit found at ${box.left}, ${box.top}, ${box.width} by ${box.height}` : "";
  return `Drawing area: ${shown}${found}${prediction ? `; the network says ${prediction.label}` : ""}. Without a pointer, pick a sample or open an image.`;
}

function padKeys(event: KeyboardEvent): void {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.key === "Backspace" || event.key === "Delete") show(EMPTY);
  else return;
  event.preventDefault();
}

function chooseFile(event: Event): void {
  const input = event.target as HTMLInputElement;
  const file = input.files?.[0];
  if (file) void showPicture(file);
}

/** Samples of the classes that the model knows, and a drawing of something that it does not. */
const samples = (state: State): TemplateResult => html`<div class="samples" role="group" aria-label="Samples">
  ${samplesFor(labelsOfModel(state)).map(
    ({ name, title }) => html`<button type="button" class="sample" aria-pressed=${state.sample === name} title=${title} @click=${() => showSample(name)}>
      <img src=${assetUrl(`samples/${name}.png`)} alt=${title} width="28" height="28" /></button>`,
  )}
</div>`;
