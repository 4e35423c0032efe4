// The service answers, over its REST API (docs/api.md).
import { createParser } from "eventsource-parser";
import { Problem, type AttackOptions, type AttackOutcome, type AttackProgress, type Backend, type CertifyOptions, type CertifyOutcome, type Explanation, type Grid, type ModelRef, type Prediction } from "../api";
import { ATTACKS } from "../attacks";

const EXPLAIN_PARTS = ["image", "two_step", "bright", "shapes", "claims", "attribution"];

let apiKey = "";

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

const pathOf = ({ name, version }: ModelRef, part = ""): string =>
  `/v1/models/${encodeURIComponent(name)}${part}?version=${encodeURIComponent(version)}`;

async function predict(model: ModelRef, file: Blob): Promise<Prediction> {
  const answer = await ask<{ predictions: Prediction[] }>(named("/v1/predict", model), file);
  return answer.predictions[0]!;
}

async function predictAll(model: ModelRef, images: Grid[]): Promise<Prediction[]> {
  const body = { images, model: model.name, version: model.version };
  return (await ask<{ predictions: Prediction[] }>("/v1/predict", body)).predictions;
}

async function explain(model: ModelRef, image: Blob | Grid): Promise<Explanation> {
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

async function certify(model: ModelRef, image: Grid, options: CertifyOptions): Promise<CertifyOutcome> {
  const body = { images: [image], model: model.name, version: model.version, ...options };
  return (await ask<{ results: CertifyOutcome[] }>("/v1/certify", body)).results[0]!;
}

async function attack(
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

export const backend: Backend = {
  origin: location.origin,
  attacks: ATTACKS.map(({ name }) => name),
  limits: {},
  setApiKey: (key) => void (apiKey = key),
  listModels: () => ask("/v1/models"),
  describeModel: (model) => ask(pathOf(model)),
  readSheet: (model) => ask(pathOf(model, "/sheet")),
  predict, predictAll, explain, certify, attack,
};
