// How an image file becomes what a network reads (docs/preprocessing.md): the two preprocessings of packages.
import type { Box } from "../../../api";
import type { PackageManifest } from "../packages";
import { handwrittenDigit } from "./handwritten-digit";
import { BLANK_MESSAGE, readPicture, refusal, type Picture } from "./picture";
import { mapped, weighted, type Weights } from "./raster";

/** An image in [0, 1] as the network reads it, what was done, and where in the file the digit was found. */
export interface Prepared { pixels: Float32Array; steps: string[]; box: Box | null }

// An image in which no two pixels differ by more is blank.
const BLANK = 0.1;
const WORKING_SIDE = 512;

export const isBlank = (pixels: Float32Array): boolean =>
  pixels.reduce((most, value) => Math.max(most, value)) - pixels.reduce((least, value) => Math.min(least, value)) < Math.fround(BLANK);

export async function prepare(file: Blob, { input, preprocessing }: PackageManifest): Promise<Prepared> {
  const found = preprocessing.name === "resize"
    ? stretched(await readPicture(file), input)
    : handwrittenDigit(await readPicture(file, WORKING_SIDE), { ...input, box: preprocessing.box });
  if (isBlank(found.pixels)) throw refusal(BLANK_MESSAGE);
  return found;
}

/** `resize`: stretched to the network's size; where it shrinks, over all that each pixel covers. */
function stretched({ grey, steps }: Picture, { height, width }: { height: number; width: number }): Prepared {
  const fits = grey.width === width && grey.height === height;
  const image = fits ? grey : weighted(grey, triangles(grey.width, width), triangles(grey.height, height));
  const told = fits ? steps : [...steps, `scaled from ${grey.height}x${grey.width} to ${height}x${width}`];
  return { pixels: mapped(image, (value) => Math.min(255, Math.max(0, Math.round(value))) / 255).values, steps: told, box: null };
}

function triangles(old: number, size: number): Weights {
  const scale = old / size;
  const reach = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale - 0.5;
    const first = Math.max(0, Math.ceil(centre - reach));
    const places = Array.from({ length: Math.min(old - 1, Math.floor(centre + reach)) - first + 1 }, (_, step) => first + step);
    const weights = places.map((each) => Math.max(0, 1 - Math.abs(each - centre) / reach));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return places.map((each, index): [number, number] => [each, weights[index]! / total]);
  });
}
