// Pictures from files, the clipboard and the samples.
import { show } from "../asking";
import { current, labelsOfModel, update } from "../state";
import { Problem } from "../api";
import { isEmpty } from "../drawing";
import { assetUrl } from "../assets";
import { samplesFor } from "../samples";

/** The picture that was asked for last: whatever takes longer than it is not shown. */
let newest = {};
const TYPES = ["image/png", "image/jpeg", "image/webp"];

export async function showPicture(file: File | Blob, name = file instanceof File ? file.name : "pasted image", sample: string | null = null): Promise<void> {
  const isOvertaken = beginOpening();
  if (!TYPES.includes(file.type)) {
    update({ problem: new Problem(415, "invalid-input", `${name} is not a PNG, JPEG or WebP image`), prediction: null, explanation: null });
    return;
  }
  try {
    const bitmap = await createImageBitmap(file);
    if (!isOvertaken()) show({ strokes: [], picture: { name, blob: file, bitmap } }, { sample });
  } catch {
    if (isOvertaken()) return;
    update({ problem: new Problem(422, "invalid-input", `${name} is not a readable image`), prediction: null, explanation: null });
  }
}

/** Tells whether another picture was asked for, or anything drawn, since now. */
function beginOpening(): () => boolean {
  const mine = (newest = {});
  const { drawing } = current();
  return () => newest !== mine || current().drawing !== drawing;
}

export async function showSample(name: string): Promise<void> {
  const isOvertaken = beginOpening();
  const response = await fetch(assetUrl(`samples/${encodeURIComponent(name)}.png`));
  if (response.ok && !isOvertaken()) await showPicture(await response.blob(), `sample ${name}`, name);
}

/** Shows a sample of the model's own classes, if there is one and nothing that was drawn or opened. */
export async function showOwnSample(): Promise<void> {
  const { drawing, sample } = current();
  const labels = labelsOfModel(current());
  if (!labels.length || (!isEmpty(drawing) && sample === null)) return;
  const known = samplesFor(labels);
  if (known.some(({ name }) => name === sample)) return;
  const first = known.find(({ label }) => label === "3") ?? known.find(({ label }) => labels.includes(label));
  if (first) await showSample(first.name);
}

/** Pictures may be dropped and pasted anywhere on the page. */
export function takeDropsAndPastes(): void {
  const first = (items: DataTransfer | null): File | undefined => [...(items?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? items?.files[0];
  document.addEventListener("paste", (event) => {
    const file = first(event.clipboardData);
    if (file) void showPicture(file);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("is-dropping");
  });
  for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => document.body.classList.remove("is-dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = first(event.dataTransfer);
    if (file) void showPicture(file);
  });
}
