// The service's REST contract, as far as the page needs it (docs/api.md).
import { createParser } from "eventsource-parser";

export type Label = number | string;
export type Grid = number[][];
export interface ModelSummary { name: string; version: string; digest: string; labels: Label[] }
export interface ModelList { default: string; models: ModelSummary[] }
export interface ModelDetails extends ModelSummary { versions: string[]; manifest: Manifest }
export interface Manifest {
  config: Record<string, unknown>;
  num_parameters?: number;
  training?: { recipe?: { name?: string; title?: string; epochs?: number }; seed?: number; data?: { source?: string; count?: number } };
  results?: Record<string, unknown> | null;
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
export type ImageInput = Grid | { png: string };
export interface ModelRef { name: string; version: string }

export const EXPLAIN_PARTS = ["image", "two_step", "bright", "shapes", "claims", "attribution"];

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

let apiKey = "";
export const setApiKey = (key: string): void => void (apiKey = key);

async function send(path: string, body: unknown, signal?: AbortSignal, accept = "application/json"): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept };
  if (apiKey) headers["X-API-Key"] = apiKey;
  const request: RequestInit = { headers, cache: "no-store", signal: signal ?? null };
  if (body !== undefined) {
    headers["Content-Type"] = body instanceof Blob ? body.type : "application/json";
    request.method = "POST";
    request.body = body instanceof Blob ? body : JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "unreachable", "The service does not answer. Is it still running?");
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

async function problemOf(response: Response): Promise<Problem> {
  const told = (await response.json().catch(() => ({}))) as {
    type?: string; detail?: string; title?: string; errors?: { loc?: unknown[]; msg?: string }[];
  };
  const message = told.errors?.[0]?.msg ?? told.detail ?? told.title ?? `The service answered ${response.status}.`;
  return new Problem(response.status, told.type?.split(":").pop() ?? "unknown", message);
}

async function ask<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, body, signal)).json()) as T;
}

const named = (path: string, model: ModelRef, more: [string, string][] = []): string =>
  `${path}?${new URLSearchParams([["model", model.name], ["version", model.version], ...more])}`;

export const listModels = (): Promise<ModelList> => ask("/v1/models");

export const describeModel = ({ name, version }: ModelRef): Promise<ModelDetails> =>
  ask(`/v1/models/${encodeURIComponent(name)}?version=${encodeURIComponent(version)}`);

export const readSheet = ({ name, version }: ModelRef): Promise<Sheet> =>
  ask(`/v1/models/${encodeURIComponent(name)}/sheet?version=${encodeURIComponent(version)}`);

export async function predict(model: ModelRef, image: Blob): Promise<Prediction> {
  const answer = await ask<{ predictions: Prediction[] }>(named("/v1/predict", model), image);
  return answer.predictions[0]!;
}

export async function predictAll(model: ModelRef, images: Grid[]): Promise<Prediction[]> {
  const body = { images, model: model.name, version: model.version };
  return (await ask<{ predictions: Prediction[] }>("/v1/predict", body)).predictions;
}

/** Explains a file, or an image as the list of its numbers. */
export async function explain(model: ModelRef, image: Blob | Grid): Promise<Explanation> {
  const answer =
    image instanceof Blob
      ? await ask<{ explanations: Explanation[] }>(
          named("/v1/explain", model, EXPLAIN_PARTS.map((part) => ["include", part])),
          image,
        )
      : await ask<{ explanations: Explanation[] }>("/v1/explain", {
          images: [image], model: model.name, version: model.version, include: EXPLAIN_PARTS,
        });
  return answer.explanations[0]!;
}

export interface CertifyOptions { epsilon: number; radius: boolean; counterexample: boolean }
export async function certify(model: ModelRef, image: Grid, options: CertifyOptions, signal?: AbortSignal): Promise<CertifyOutcome> {
  const body = { images: [image], model: model.name, version: model.version, ...options };
  return (await ask<{ results: CertifyOutcome[] }>("/v1/certify", body, signal)).results[0]!;
}

export interface AttackOptions { attack: string; norm: "linf" | "l2"; epsilon: number }
/** Attacks one image; `onProgress` is called as the attack goes on. */
export async function attack(
  model: ModelRef, image: Grid, options: AttackOptions, signal: AbortSignal, onProgress: (progress: AttackProgress) => void,
): Promise<AttackOutcome> {
  const body = { images: [image], model: model.name, version: model.version, ...options };
  const response = await send("/v1/attack", body, signal, "text/event-stream");
  let outcome: AttackOutcome | undefined;
  let problem: Problem | undefined;
  const parser = createParser({
    onEvent({ event, data }) {
      const told = JSON.parse(data);
      if (event === "progress") onProgress(told);
      else if (event === "result") outcome = told.results[0];
      else problem = new Problem(told.status, told.type.split(":").pop(), told.detail);
    },
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parser.feed(part.value);
  if (problem) throw problem;
  if (!outcome) throw new Problem(0, "unreachable", "The service ended before the attack did.");
  return outcome;
}

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
      if (this.#next) await new Promise(requestAnimationFrame);
    }
    this.#running = false;
  }
}
