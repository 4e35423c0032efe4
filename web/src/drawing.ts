// The drawing: strokes of a pen over nothing, or a picture; what is shown and what is sent are the same strokes.
import { getStroke } from "perfect-freehand";

/** Side of the drawing in its own units. */
export const SIDE = 280;
/** Side of the file that is sent, in pixels: the service would enlarge a smaller one. */
const FILE_SIDE = 224;
const PEN = 24;

/** Points of one stroke: x and y in the drawing's units, and pressure from 0 to 1. */
export type Stroke = [number, number, number][];

export interface Picture { name: string; blob: Blob; bitmap: ImageBitmap }
export interface Drawing { strokes: Stroke[]; picture: Picture | null }

export const EMPTY: Drawing = { strokes: [], picture: null };
export const isEmpty = ({ strokes, picture }: Drawing): boolean => !strokes.length && !picture;

/** Whether there is nothing to ask about yet: the pen has only just touched down. */
export function isTooLittle({ strokes, picture }: Drawing): boolean {
  const drawn = strokes.flatMap((stroke) => stroke.slice(1).map(([x, y], at) => Math.hypot(x - stroke[at]![0], y - stroke[at]![1])));
  return !picture && drawn.reduce((total, step) => total + step, 0) < PEN;
}

/** Draws strokes with the context's fill style; the context is scaled to the drawing's units. */
export function drawStrokes(context: CanvasRenderingContext2D, strokes: readonly Stroke[]): void {
  for (const stroke of strokes) context.fill(outline(stroke));
}

function outline(stroke: Stroke): Path2D {
  const pressed = stroke.some(([, , pressure]) => pressure !== 0.5);
  const points = getStroke(stroke, { size: PEN, thinning: pressed ? 0.5 : 0, smoothing: 0.5, streamline: 0.35, simulatePressure: false });
  const path = new Path2D();
  points.forEach(([x, y], index) => (index ? path.lineTo(x!, y!) : path.moveTo(x!, y!)));
  path.closePath();
  return path;
}

/** The file that goes to the service: the picture as it is, or the strokes, light on dark as the network reads. */
export async function fileOf({ strokes, picture }: Drawing): Promise<Blob> {
  if (picture) return picture.blob;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = FILE_SIDE;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = "#000";
  context.fillRect(0, 0, FILE_SIDE, FILE_SIDE);
  context.fillStyle = "#fff";
  const { left, top, side } = frame(strokes);
  const scale = FILE_SIDE / side;
  context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
  drawStrokes(context, strokes);
  const encoded = canvas.toDataURL("image/png").split(",")[1]!; // at once: toBlob waits for the page to be idle
  return new Blob([Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0))], { type: "image/png" });
}

/** The square around the strokes: the service scales a digit to one size anyway, and takes a speck for dirt. */
function frame(strokes: readonly Stroke[]): { left: number; top: number; side: number } {
  const points = strokes.flat();
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const side = 1.4 * (Math.max(right - left, bottom - top) + PEN);
  return { left: (left + right - side) / 2, top: (top + bottom - side) / 2, side };
}

/** Strokes as text for the URL: two bytes a point in base64, strokes separated by points. Pressure is left out. */
export function encodeStrokes(strokes: readonly Stroke[]): string {
  return strokes
    .map((stroke) => btoa(String.fromCharCode(...stroke.flatMap(([x, y]) => [byte(x), byte(y)]))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, ""))
    .join(".");
}

const byte = (value: number): number => Math.min(255, Math.max(0, Math.round((value / SIDE) * 255)));

export function decodeStrokes(text: string): Stroke[] {
  return text.split(".").filter(Boolean).map((part) => {
    const bytes = atob(part.replace(/-/g, "+").replace(/_/g, "/"));
    const stroke: Stroke = [];
    for (let at = 0; at + 1 < bytes.length; at += 2) {
      stroke.push([(bytes.charCodeAt(at) / 255) * SIDE, (bytes.charCodeAt(at + 1) / 255) * SIDE, 0.5]);
    }
    return stroke;
  });
}
