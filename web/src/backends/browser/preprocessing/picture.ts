// An image file's pixels, grey and upright, transparent parts on white paper.
import { Problem } from "../../../api";
import { raster, type Raster } from "./raster";

/** Grey pixels in 0..255, and what was done to them so far. */
export interface Picture { grey: Raster; steps: string[]; reduced: number }

const MOST_PIXELS = 16_000_000; // the service's WHITEBOX_MAX_PNG_PIXELS
const [RED, GREEN, BLUE] = [0.299, 0.587, 0.114];

export const BLANK_MESSAGE = "the image is blank: nothing stands out from its background";

export const refusal = (message: string): Problem => new Problem(422, "invalid-input", message);

/** Reads a file; `longest` is the longer side to which a larger picture is scaled down. */
export async function readPicture(file: Blob, longest = Infinity): Promise<Picture> {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  if (bitmap.width * bitmap.height > MOST_PIXELS) throw refusal(`${bitmap.width} x ${bitmap.height} pixels are too many, ${MOST_PIXELS} are allowed`);
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { ...greyOf(context.getImageData(0, 0, width, height)), reduced: 1 / scale };
}

function greyOf({ data, width, height }: ImageData): { grey: Raster; steps: string[] } {
  let [transparent, coloured] = [false, false];
  const grey = raster(width, height, (y, x) => {
    const place = 4 * (y * width + x);
    const [red, green, blue, cover] = [data[place]!, data[place + 1]!, data[place + 2]!, data[place + 3]! / 255];
    transparent ||= cover < 1;
    coloured ||= red !== green || green !== blue;
    return cover * (RED * red + GREEN * green + BLUE * blue) + 255 * (1 - cover);
  });
  return { grey, steps: [...(transparent ? ["transparent parts white"] : []), ...(coloured ? ["grey"] : [])] };
}
