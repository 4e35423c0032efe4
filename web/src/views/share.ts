// What one sees, for others and for programs: a link, curl, Python.
import { html, nothing, type TemplateResult } from "lit-html";
import { backend } from "#backend";
import { fileOf, isEmpty } from "../drawing";
import { linkTo } from "../url";
import { current, update, type State } from "../state";
import { icon } from "./icons";

async function base64(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

async function body(): Promise<string> {
  const { model, drawing } = current();
  return JSON.stringify({ images: [{ png: await base64(await fileOf(drawing)) }], model: model!.name, version: model!.version, include: ["claims"] });
}

export const asCurl = async (): Promise<string> =>
  `curl -s ${backend.origin}/v1/explain -H 'Content-Type: application/json' -d '${await body()}'`;

export const asPython = async (): Promise<string> => `import httpx

request = ${await body()}
answer = httpx.post("${backend.origin}/v1/explain", json=request).raise_for_status()
print(answer.json()["explanations"][0])
`;

async function copy(text: Promise<string>, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(await text);
    update({ notice: `${what} copied` });
  } catch {
    update({ notice: "The browser does not let the page copy" });
  }
  setTimeout(() => update({ notice: "" }), 2500);
}

export function shareView(state: State): TemplateResult {
  const nothingDrawn = isEmpty(state.drawing) || !state.model;
  return html`<div class="share" role="group" aria-label="Copy">
    <button type="button" class="quiet" @click=${() => copy(Promise.resolve(linkTo(state)), linkName(state))} ?disabled=${nothingDrawn}>${icon("link")}Link</button>
    ${backend.origin === null ? nothing : html`
      <button type="button" class="quiet" @click=${() => copy(asCurl(), "curl command")} ?disabled=${nothingDrawn}>${icon("code")}curl</button>
      <button type="button" class="quiet" @click=${() => copy(asPython(), "Python")} ?disabled=${nothingDrawn}>${icon("code")}Python</button>`}
    <span class="notice" role="status">${state.notice}</span>
  </div>`;
}

/** A file stays on this machine: the link has the rest. */
const linkName = ({ drawing, sample }: State): string => (drawing.picture && !sample ? "Link, without the image," : "Link");
