// What the page asks and what it is told: the service's REST contract (docs/api.md), whoever answers.

export type Label = number | string;
export type Grid = number[][];
export interface ModelSummary { name: string; version: string; digest: string; labels: Label[] }
export interface ModelList { default: string; models: ModelSummary[] }
export interface ModelDetails extends ModelSummary { versions: string[]; manifest: Manifest }
/** What `whitebox evaluate` measured before the package was made. */
export interface Results {
  data?: { source: string; count: number };
  clean?: { accuracy: number };
  attacks?: { name: string }[];
  worst_case?: { epsilon: number; robust_accuracy: number };
  certified?: { epsilon: number; certified_accuracy: number }[];
}
export interface Manifest {
  config: Record<string, unknown>;
  input?: { height: number; width: number };
  num_parameters?: number;
  training?: { epsilon?: number; recipe?: { name?: string; title?: string; epochs?: number }; seed?: number; data?: { source?: string; count?: number } };
  results?: Results | null;
  files: Record<string, string>;
}
export interface Box { left: number; top: number; width: number; height: number }
export interface Prediction {
  label: Label;
  confidence: number;
  probabilities: Record<string, number>;
  logits: Record<string, number>;
  preprocessed?: string[] | null;
  /** Where the digit was found, in pixels of the file. */
  box?: Box | null;
  typicality?: { p_value: number; typical: boolean } | null;
}
export interface Shape { speaks_for: Label; activation: number; pose: number; template: Grid }
export interface Claim { shape: number; contributions: number[] }
export interface Explanation extends Prediction {
  image: Grid;
  two_step: Grid;
  bright: { values: Grid; kernel: Grid; rotation: Grid };
  shapes: Shape[];
  claims: Record<string, Claim>;
  attribution: Record<string, { bright: Grid; two_step: Grid }>;
}
export interface Distance { linf: number; l2: number; l0: number }
export interface AttackOutcome {
  success: boolean;
  label: Label;
  original: Prediction;
  adversarial: Prediction;
  image: Grid;
  distance: Distance;
  queries: number;
  stopped_by: string;
}
export interface AttackProgress { index: number; queries: number; margin: number }
export interface CertifyOutcome {
  label: Label;
  prediction: Prediction;
  verdict: "certified" | "falsified" | "unknown";
  /** Whether all images within epsilon are typical, or none is, proved. */
  typical_within_epsilon?: "always" | "never" | "unknown" | null;
  margin_lower_bound: number;
  certified_radius?: number | null;
  counterexample?: { image: Grid; distance: Distance; prediction: Prediction } | null;
}
export interface Sheet {
  two_step: Record<string, number[]>;
  kernels: number[][][][];
  shapes: { speaks_for: Label; base: Grid }[];
  rows: Record<string, number[]>;
}
export interface ModelRef { name: string; version: string }

/** An answer that is not 2xx, told in the words of the service's problem. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly slug: string,
    message: string,
  ) {
    super(message);
  }
}

export interface CertifyOptions { epsilon: number; radius: boolean; counterexample: boolean }
export interface AttackOptions { attack: string; norm: "linf" | "l2"; epsilon: number }

/** Who answers. `#backend` is the service, or in the static demo the browser itself: `build.mjs` chooses. */
export interface Backend {
  /** Where programs may ask the same; null if nothing listens anywhere. */
  readonly origin: string | null;
  /** The attacks that it has, of those in attacks.ts. */
  readonly attacks: readonly string[];
  /** What it does less well than the service, to be said where it matters. */
  readonly limits: { pictures?: string; proofs?: string; attacks?: string };
  /** Takes the key that is asked for by problems of status 401. */
  setApiKey?(key: string): void;
  listModels(): Promise<ModelList>;
  describeModel(model: ModelRef): Promise<ModelDetails>;
  readSheet(model: ModelRef): Promise<Sheet>;
  predict(model: ModelRef, file: Blob): Promise<Prediction>;
  predictAll(model: ModelRef, images: Grid[]): Promise<Prediction[]>;
  /** Explains a file, or an image as the list of its numbers. */
  explain(model: ModelRef, image: Blob | Grid): Promise<Explanation>;
  certify(model: ModelRef, image: Grid, options: CertifyOptions): Promise<CertifyOutcome>;
  /** Attacks one image; `onProgress` is called as the attack goes on. */
  attack(
    model: ModelRef, image: Grid, options: AttackOptions, signal: AbortSignal, onProgress: (progress: AttackProgress) => void,
  ): Promise<AttackOutcome>;
}

export const nextFrame = (): Promise<number> => new Promise(requestAnimationFrame);

/** Runs the newest piece of work, one at a time and at most one a frame; those that it overtakes are dropped. */
export class NewestOnly {
  #next: (() => Promise<void>) | undefined;
  #running = false;

  ask(work: () => Promise<void>): void {
    this.#next = work;
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#next) {
      const work = this.#next;
      this.#next = undefined;
      await work();
      if (this.#next) await nextFrame();
    }
    this.#running = false;
  }
}
