// What the page knows, in one place. Views are functions of it; changes go through `update`.
import type { AttackOptions, AttackOutcome, AttackProgress, CertifyOutcome, Explanation, ModelDetails, ModelRef, ModelSummary, Prediction, Problem, Sheet } from "./api";
import { EMPTY, type Drawing } from "./drawing";
import type { PixelPlace } from "./pictures/pixel-map";

/** What is pointed at: a pixel of the maps, or a shape in the claim of a class. */
export type Focus = { kind: "pixel"; place: PixelPlace } | { kind: "shape"; shape: number; label: string };

/** What is known about attacks on the image, from all certificates so far. */
export interface Knowledge {
  /** Proved up to here. */
  certified: number;
  /** A counterexample was found at this distance. */
  falsified: number | null;
  radius: number | null;
  /** Proved up to here: every image is typical, or none is. */
  typical: number | null;
  untypical: number | null;
  /** The answer at the epsilon that was asked last. */
  last: CertifyOutcome | null;
  asked: number | null;
}

export interface AttackState {
  options: AttackOptions;
  running: AbortController | null;
  progress: AttackProgress[];
  outcome: AttackOutcome | null;
  /** Predictions on the way from the original (first) to the adversarial image (last). */
  frames: Prediction[];
  frame: number;
  explanation: Explanation | null;
  before: Explanation | null;
  problem: Problem | null;
}

export interface State {
  models: ModelSummary[];
  model: ModelRef | null;
  details: ModelDetails | null;
  sheet: Sheet | null;
  drawing: Drawing;
  history: Drawing[];
  sample: string | null;
  prediction: Prediction | null;
  explanation: Explanation | null;
  problem: Problem | null;
  needsKey: boolean;
  slow: boolean;
  rival: string | null;
  focus: Focus | null;
  epsilon: number;
  knowledge: Knowledge | null;
  certifying: boolean;
  certifyProblem: Problem | null;
  attack: AttackState;
  notice: string;
}

export const NO_ATTACK: AttackState = {
  options: { attack: "pgd", norm: "linf", epsilon: 0.3 },
  running: null, progress: [], outcome: null, frames: [], frame: 0, explanation: null, before: null, problem: null,
};

let state: State = {
  models: [], model: null, details: null, sheet: null, drawing: EMPTY, history: [], sample: null, prediction: null, explanation: null,
  problem: null, needsKey: false, slow: false, rival: null, focus: null, epsilon: 0.1, knowledge: null, certifying: false,
  certifyProblem: null, attack: NO_ATTACK, notice: "",
};
const listeners: ((state: State) => void)[] = [];
let queued = false;

export const current = (): State => state;

/** The radius that the model is judged at, if its package tells. */
export const radiusOf = ({ details }: State): number | undefined => details?.manifest.training?.epsilon;

/** The labels of the model that answers; none before the list of models is there. */
export function labelsOfModel({ models, model }: State): string[] {
  const served = models.find(({ name, version }) => name === model?.name && version === model.version);
  return served?.labels.map(String) ?? [];
}
export const onChange = (listener: (state: State) => void): void => void listeners.push(listener);

/** Changes the state; the page is drawn again once this task is done, not a frame later: an answer is waited for. */
export function update(change: Partial<State>): void {
  state = { ...state, ...change };
  if (queued) return;
  queued = true;
  queueMicrotask(() => {
    queued = false;
    listeners.forEach((listener) => listener(state));
  });
}
export const updateAttack = (change: Partial<AttackState>): void => update({ attack: { ...state.attack, ...change } });
