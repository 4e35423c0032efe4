// The drawing: strokes of a pen over nothing, or a picture; what is shown and what is sent are the same strokes.
import { getStroke } from "perfect-freehand";

/** Side of the drawing in its own units, and in pixels of the file that is sent. */
export const SIDE = 280;
const PEN = 24;

/** Points of one stroke: x and y in the drawing's units, and pressure from 0 to 1. */
export type Stroke = [number, number, number][];

export interface Picture { name: string; blob: Blob; bitmap: ImageBitmap }
export interface Drawing { strokes: Stroke[]; picture: Picture | null }

export const EMPTY: Drawing = { strokes: [], picture: null };
export const isEmpty = ({ strokes, picture }: Drawing): boolean => !strokes.length && !picture;

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
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d")! as unknown as CanvasRenderingContext2D;
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = "#fff";
  drawStrokes(context, strokes);
  return canvas.convertToBlob({ type: "image/png" });
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
