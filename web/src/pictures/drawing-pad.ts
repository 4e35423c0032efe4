// <drawing-pad>: where one draws. Sends "draw" with the strokes while the pen moves and "drawn" when it lifts.
import type { Box } from "../api";
import { drawStrokes, EMPTY, SIDE, type Drawing, type Stroke } from "../drawing";
import { colours, onThemeChange } from "./colours";

export class DrawingPad extends HTMLElement {
  #drawing: Drawing = EMPTY;
  #stroke: Stroke | undefined;
  #box: Box | null = null;
  #canvas = document.createElement("canvas");
  #endTheme: (() => void) | undefined;
  #resize = new ResizeObserver(() => this.#draw());

  connectedCallback(): void {
    if (!this.firstChild) {
      this.#canvas.setAttribute("aria-hidden", "true");
      this.append(this.#canvas);
      this.addEventListener("pointerdown", (event) => this.#begin(event));
      this.addEventListener("pointermove", (event) => this.#move(event));
      for (const end of ["pointerup", "pointercancel"]) this.addEventListener(end, () => this.#end());
    }
    this.#endTheme = onThemeChange(() => this.#draw());
    this.#resize.observe(this);
  }

  disconnectedCallback(): void {
    this.#endTheme?.();
    this.#resize.disconnect();
  }

  set drawing(drawing: Drawing) {
    if (drawing === this.#drawing) return;
    this.#drawing = drawing;
    this.#draw();
  }

  /** Where in the picture the digit was found. */
  set box(box: Box | null) {
    if (JSON.stringify(box) === JSON.stringify(this.#box)) return;
    this.#box = box;
    this.#draw();
  }

  #begin(event: PointerEvent): void {
    if (event.button !== 0 || this.#stroke) return;
    event.preventDefault();
    this.focus({ preventScroll: true });
    this.setPointerCapture(event.pointerId);
    this.#stroke = [this.#point(event)];
    this.#tell("draw");
  }

  #move(event: PointerEvent): void {
    if (!this.#stroke) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) this.#stroke.push(this.#point(move));
    this.#tell("draw");
  }

  #end(): void {
    if (!this.#stroke) return;
    this.#tell("drawn");
    this.#stroke = undefined;
  }

  #tell(name: "draw" | "drawn"): void {
    this.dispatchEvent(new CustomEvent<Stroke>(name, { detail: [...this.#stroke!] }));
  }

  #point(event: PointerEvent): [number, number, number] {
    const box = this.#canvas.getBoundingClientRect();
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE, pressure];
  }

  #draw(): void {
    const pixels = Math.max(1, Math.round(this.clientWidth * devicePixelRatio));
    if (this.#canvas.width !== pixels) this.#canvas.width = this.#canvas.height = pixels;
    const context = this.#canvas.getContext("2d")!;
    const palette = colours();
    context.setTransform(pixels / SIDE, 0, 0, pixels / SIDE, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    const { picture, strokes } = this.#drawing;
    if (picture) drawPicture(context, picture.bitmap, palette.ink);
    if (picture && this.#box) drawBox(context, picture.bitmap, this.#box, palette.accent);
    context.fillStyle = palette.ink;
    drawStrokes(context, strokes);
  }
}

/** Small pictures are in the network's own form, light on dark, and drawn as ink; photographs as they are. */
function drawPicture(context: CanvasRenderingContext2D, bitmap: ImageBitmap, ink: string): void {
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const place = [(SIDE - width) / 2, (SIDE - height) / 2, width, height] as const;
  if (bitmap.width > 64) {
    context.drawImage(bitmap, ...place);
    return;
  }
  const small = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = small.getContext("2d")!;
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at]!;
  pen.putImageData(pixels, 0, 0);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = ink;
  pen.fillRect(0, 0, bitmap.width, bitmap.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, ...place);
  context.imageSmoothingEnabled = true;
}

function drawBox(context: CanvasRenderingContext2D, bitmap: ImageBitmap, box: Box, colour: string): void {
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  const [left, top] = [(SIDE - bitmap.width * scale) / 2, (SIDE - bitmap.height * scale) / 2];
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.strokeRect(left + box.left * scale, top + box.top * scale, box.width * scale, box.height * scale);
}

customElements.define("drawing-pad", DrawingPad);
