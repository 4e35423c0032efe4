// Under every picture: its numbers as a table, and the picture to keep.
import { html, nothing, type TemplateResult } from "lit-html";
import type { Grid } from "../api";
import { plain } from "../numbers";
import { savePicture } from "../pictures/save";
import { update } from "../state";

/** A table's head and its rows as text, or the numbers of a map. */
export type Numbers = Grid | { head: string[]; rows: string[][] };

const open = new Set<string>();

export function pictureTools(title: string, numbers: Numbers, place = title): TemplateResult {
  const toggle = (event: Event): void => {
    const isOpen = (event.currentTarget as HTMLDetailsElement).open;
    if (isOpen === open.has(place)) return;
    if (isOpen) open.add(place);
    else open.delete(place);
    update({}); // the numbers are in the document only while they are looked at
  };
  const save = (event: Event, format: "svg" | "png"): void => {
    const home = (event.currentTarget as HTMLElement).closest("figure, .picture")!;
    void savePicture(home, title, format);
  };
  return html`<details class="picture-tools" @toggle=${toggle}>
    <summary><span class="visually-hidden">${title}: </span>numbers, save</summary>
    <div class="panel">
      <p class="saves">Keep the picture:
        <button type="button" class="quiet" aria-label="Save ${title} as SVG" @click=${(event: Event) => save(event, "svg")}>SVG</button>
        <button type="button" class="quiet" aria-label="Save ${title} as PNG" @click=${(event: Event) => save(event, "png")}>PNG</button></p>
      ${open.has(place) ? html`<div class="numbers" tabindex="0" role="region" aria-label="${title} as numbers">${table(numbers)}</div>` : nothing}
    </div>
  </details>`;
}

function table(numbers: Numbers): TemplateResult {
  if (Array.isArray(numbers)) {
    return html`<table><tbody>${numbers.map((row) => html`<tr>${row.map((value) => html`<td>${plain(value, 2)}</td>`)}</tr>`)}</tbody></table>`;
  }
  return html`<table>
    <thead><tr>${numbers.head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${numbers.rows.map((row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
  </table>`;
}
