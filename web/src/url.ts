// The state in the URL's fragment, which never leaves the browser: a link shows what the sender saw.
import { backend } from "#backend";
import { compareWith, show } from "./asking";
import { decodeStrokes, encodeStrokes } from "./drawing";
import { showOwnSample, showSample } from "./pictures/files";
import { current, NO_ATTACK, update, type State } from "./state";

export interface Place { model: string | null; version: string | null }

const SETTLED_AFTER_MS = 300;
let writing: ReturnType<typeof setTimeout> | undefined;

/** Writes the state into the URL once it has settled: each change of the URL costs a browser as much as an answer. */
export function writeUrlWhenSettled(): void {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const hash = fragmentOf(current());
    if (hash && hash !== location.hash) history.replaceState(null, "", hash);
  }, SETTLED_AFTER_MS);
}

/** A link that shows what is seen now. */
export const linkTo = (state: State): string => new URL(fragmentOf(state), location.href).href;

function fragmentOf({ model, sample, drawing, rival, epsilon, attack }: State): string {
  if (!model) return "";
  const told = new URLSearchParams({ model: model.name, version: model.version });
  if (sample) told.set("sample", sample);
  else if (drawing.strokes.length) told.set("strokes", encodeStrokes(drawing.strokes));
  if (rival !== null) told.set("against", rival);
  told.set("epsilon", epsilon.toFixed(3));
  const { attack: name, norm, epsilon: strength } = attack.options;
  told.set("attack", `${name},${norm},${strength.toFixed(2)}`);
  return `#${told}`;
}

export function placeInUrl(): Place {
  const told = new URLSearchParams(location.hash.slice(1));
  return { model: told.get("model"), version: told.get("version") };
}

/**
 * Shows what the URL tells of; a first visit shows a sample, so that there is something to see: of which classes
 * is known once the models are loaded.
 */
export async function restoreFromUrl(modelsLoaded: Promise<void>): Promise<void> {
  const told = new URLSearchParams(location.hash.slice(1));
  const epsilon = Number(told.get("epsilon") ?? current().epsilon);
  if (Number.isFinite(epsilon)) update({ epsilon: Math.min(0.5, Math.max(0, epsilon)) });
  const [name, norm, strength] = (told.get("attack") ?? "").split(",");
  if (name && backend.attacks.includes(name) && (norm === "linf" || norm === "l2") && Number.isFinite(Number(strength))) {
    update({ attack: { ...NO_ATTACK, options: { attack: name, norm, epsilon: Number(strength) } } });
  }
  const strokes = told.get("strokes");
  if (strokes) {
    try {
      show({ strokes: decodeStrokes(strokes), picture: null }, { remember: false });
    } catch {
      update({ notice: "The link's drawing cannot be read." });
    }
  } else {
    const sample = told.get("sample");
    if (sample === null) await modelsLoaded;
    await (sample === null ? showOwnSample() : showSample(sample));
    update({ history: [] });
  }
  const against = told.get("against");
  if (against !== null) compareWith(against);
}
