// What the page asks of the service, and when: the answer follows the pen, the rest follows the answer.
import { backend } from "#backend";
import * as api from "./api";
import { fileOf, isEmpty, isTooLittle, EMPTY, type Drawing } from "./drawing";
import { ranked } from "./explained";
import { current, NO_ATTACK, radiusOf, update, updateAttack, type Knowledge } from "./state";

const answers = new api.NewestOnly();
const explanations = new api.NewestOnly();
const certificates = new api.NewestOnly();
const SLOW_AFTER_MS = 400;
const MOST_UNDO = 50;

/** Shows another drawing and asks about it; the one before can be undone if `remember` is set. */
export function show(drawing: Drawing, { remember = true, sample = null as string | null } = {}): void {
  const { drawing: before, history, attack } = current();
  attack.running?.abort();
  update({
    drawing, sample, history: remember ? [...history.slice(-MOST_UNDO), before] : history,
    knowledge: null, certifyProblem: null, attack: { ...NO_ATTACK, options: attack.options }, focus: null,
  });
  askAgain();
}

export function undo(): void {
  const history = current().history;
  const before = history.at(-1);
  if (!before) return;
  show(before, { remember: false, sample: before.picture?.name.startsWith("sample ") ? before.picture.name.slice(7) : null });
  update({ history: history.slice(0, -1) });
}

export const clear = (): void => show(EMPTY);

/** Asks about what is drawn now. */
export function askAgain(): void {
  const { drawing, model } = current();
  if (!model) return;
  if (isTooLittle(drawing)) {
    update({ prediction: null, explanation: null, problem: null, slow: false });
    return;
  }
  let encoded: Promise<Blob> | undefined;
  const file = (): Promise<Blob> => (encoded ??= fileOf(drawing)); // not for drawings that are overtaken
  answers.ask(async () => {
    await answer(drawing, model, file);
    // The answer, which is waited for, is on the screen first.
    void api.nextFrame().then(() => explanations.ask(() => explainIt(drawing, model, file)));
  });
}

const isCurrent = (drawing: Drawing, model: api.ModelRef): boolean => current().drawing === drawing && current().model === model;

async function answer(drawing: Drawing, model: api.ModelRef, file: () => Promise<Blob>): Promise<void> {
  const slow = setTimeout(() => update({ slow: true }), SLOW_AFTER_MS);
  try {
    const prediction = await backend.predict(model, await file());
    if (current().model === model && !isEmpty(current().drawing)) update({ prediction, problem: null });
  } catch (error) {
    if (isCurrent(drawing, model)) fail(error);
  } finally {
    clearTimeout(slow);
    update({ slow: false });
  }
}

async function explainIt(drawing: Drawing, model: api.ModelRef, file: () => Promise<Blob>): Promise<void> {
  try {
    const explanation = await backend.explain(model, await file());
    if (current().model !== model || isEmpty(current().drawing)) return;
    update({ explanation, rival: rivalOf(explanation, current().rival) });
  } catch {
    if (isCurrent(drawing, model)) update({ explanation: null }); // `answer` tells why
  }
}

/** The class that stands beside the answer: the chosen one, else the second. */
function rivalOf(explanation: api.Explanation, chosen: string | null): string | null {
  const [first, second] = ranked(explanation);
  return chosen !== null && chosen !== first && chosen in explanation.logits ? chosen : (second ?? null);
}

export function compareWith(label: string): void {
  update({ rival: label });
}

function fail(error: unknown): void {
  const problem = asProblem(error);
  if (problem.status === 401) update({ needsKey: true });
  update({ problem, prediction: null, explanation: null });
}

export const asProblem = (error: unknown): api.Problem =>
  error instanceof api.Problem ? error : new api.Problem(0, "defect", `The page failed: ${String(error)}`);

/** Loads the list of models and chooses one: the named one if it is loaded, else the service's default. */
export async function loadModels(name: string | null, version: string | null): Promise<void> {
  try {
    const { models, default: standard } = await backend.listModels();
    update({ models, needsKey: false, problem: null });
    const newest = (wanted: string): api.ModelSummary | undefined => models.filter((model) => model.name === wanted).at(-1);
    const exact = models.find((model) => model.name === name && model.version === version);
    const chosen = exact ?? (name === null ? undefined : newest(name)) ?? newest(standard) ?? models[0];
    if (chosen) void chooseModel(chosen); // a sample of it is shown meanwhile
  } catch (error) {
    fail(error);
  }
}

export async function chooseModel({ name, version }: api.ModelRef): Promise<void> {
  current().attack.running?.abort();
  const radiusBefore = radiusOf(current());
  const model = { name, version };
  update({
    model, details: null, sheet: null, prediction: null, explanation: null, knowledge: null, certifyProblem: null, focus: null,
    attack: { ...NO_ATTACK, options: current().attack.options },
  });
  askAgain();
  const [details, sheet] = await Promise.allSettled([backend.describeModel(model), backend.readSheet(model)]);
  if (current().model !== model) return;
  update({ details: details.status === "fulfilled" ? details.value : null, sheet: sheet.status === "fulfilled" ? sheet.value : null });
  attackAtRadius(radiusBefore);
}

/** A strength that nobody chose is the radius that the model is judged at. */
function attackAtRadius(radiusBefore: number | undefined): void {
  const { options } = current().attack;
  const epsilon = radiusOf(current());
  const chosen = options !== NO_ATTACK.options && options.epsilon !== radiusBefore;
  if (epsilon !== undefined && options.norm === "linf" && !chosen) updateAttack({ options: { ...options, epsilon } });
}

/** Asks for a certificate at the epsilon of the slider, unless it is known already. */
export function proveAt(epsilon: number): void {
  // Who listens to changes asks again until there is a proof: without a change nobody may be told of one.
  if (epsilon !== current().epsilon) update({ epsilon });
  certificates.ask(prove);
}

async function prove(): Promise<void> {
  const { explanation, model, epsilon, knowledge } = current();
  if (!explanation || !model || knowledge?.asked === epsilon) return;
  update({ certifying: true, certifyProblem: null });
  try {
    const first = (knowledge?.radius ?? null) === null;
    const needsSearch = !knowledge || epsilon > knowledge.certified;
    const options = { epsilon, radius: first, counterexample: needsSearch };
    const outcome = await backend.certify(model, explanation.image, options);
    if (current().explanation !== explanation) return;
    update({ knowledge: learned(current().knowledge, outcome, epsilon) });
  } catch (error) {
    if (current().explanation === explanation) update({ certifyProblem: asProblem(error) });
  } finally {
    update({ certifying: false });
  }
}

function learned(before: Knowledge | null, outcome: api.CertifyOutcome, epsilon: number): Knowledge {
  const radius = outcome.certified_radius ?? before?.radius ?? null;
  const proved = outcome.verdict === "certified" ? epsilon : 0;
  const found = outcome.verdict === "falsified" ? (outcome.counterexample?.distance.linf ?? 0) : Infinity;
  const falsified = Math.min(before?.falsified ?? Infinity, found);
  const upTo = (said: string, known: number | null | undefined): number | null =>
    outcome.typical_within_epsilon === said ? Math.max(known ?? 0, epsilon) : (known ?? null);
  return {
    certified: Math.max(before?.certified ?? 0, radius ?? 0, proved),
    falsified: Number.isFinite(falsified) ? falsified : null,
    radius, typical: upTo("always", before?.typical), untypical: upTo("never", before?.untypical), last: outcome, asked: epsilon,
  };
}

/** A successful attack falsifies every epsilon from its distance on. */
function attacked(before: Knowledge | null, { distance }: api.AttackOutcome): Knowledge {
  const known = before ?? { certified: 0, falsified: null, radius: null, typical: null, untypical: null, last: null, asked: null };
  return { ...known, falsified: Math.min(known.falsified ?? Infinity, distance.linf) };
}

const FRAMES = 21;
/** Attacks the image that the network saw; then asks about the frames between it and the adversarial image. */
export async function runAttack(): Promise<void> {
  const { explanation, model, attack } = current();
  if (!explanation || !model || attack.running) return;
  const running = new AbortController();
  update({ attack: { ...NO_ATTACK, options: attack.options, running, before: explanation } });
  const isMine = (): boolean => current().attack.running === running;
  try {
    const outcome = await backend.attack(model, explanation.image, attack.options, running.signal, (progress) => {
      if (isMine()) updateAttack({ progress: [...current().attack.progress, progress] });
    });
    const images = Array.from({ length: FRAMES }, (_, at) => between(explanation.image, outcome.image, at / (FRAMES - 1)));
    const [frames, adversarial] = await Promise.all([backend.predictAll(model, images), backend.explain(model, outcome.image)]);
    if (!isMine()) return;
    updateAttack({ outcome, frames, frame: FRAMES - 1, explanation: adversarial, running: null });
    if (outcome.success) update({ knowledge: attacked(current().knowledge, outcome) });
  } catch (error) {
    if (isMine()) updateAttack({ running: null, problem: running.signal.aborted ? null : asProblem(error) });
  }
}

export function stopAttack(): void {
  current().attack.running?.abort();
  updateAttack({ running: null, progress: [] });
}

export const between = (from: api.Grid, to: api.Grid, share: number): api.Grid =>
  share === 1 ? to : from.map((row, y) => row.map((value, x) => value + share * (to[y]![x]! - value)));
