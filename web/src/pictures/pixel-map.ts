// <pixel-map>: a small grid of numbers as a picture that can be pointed at, by pointer or arrow keys.
import type { Grid } from "../api";
import { strongest } from "../numbers";
import { colours, onThemeChange, type Colours } from "./colours";

export interface MapData {
  /** Values in [0, 1], drawn as ink. */
  ink: Grid;
  /** Signed values laid over the ink: blue and solid for, orange and hatched against. */
  signed?: Grid;
  /** Winning rotations, drawn as strokes where the ink is strong enough, in parts of a full turn. */
  turns?: Grid;
  /** How strongly the ink shows under what is laid over it. */
  fade?: number;
  /** The value that a signed map draws at full strength; default: its own largest. */
  most?: number;
}
export interface PixelPlace { y: number; x: number }

const CELL = 10; // canvas pixels a pixel: room for strokes and hatches

export class PixelMap extends HTMLElement {
  #data: MapData | undefined;
  #mark: PixelPlace | undefined;
  #canvas = document.createElement("canvas");
  #queued = false;
  #endTheme: (() => void) | undefined;
  #cursor: PixelPlace = { y: 14, x: 14 };

  connectedCallback(): void {
    if (!this.firstChild) {
      this.#canvas.setAttribute("aria-hidden", "true");
      this.append(this.#canvas);
      this.addEventListener("pointermove", (event) => this.#point(event));
      this.addEventListener("pointerdown", (event) => this.#point(event));
      this.addEventListener("pointerleave", () => this.#tell(undefined));
      this.addEventListener("keydown", (event) => this.#step(event));
      this.addEventListener("focus", () => this.matches(":focus-visible") && this.#tell(this.#cursor));
      this.addEventListener("blur", () => this.#tell(undefined));
    }
    this.#endTheme = onThemeChange(() => this.#queue());
    this.#queue();
  }

  disconnectedCallback(): void {
    this.#endTheme?.();
  }

  set data(data: MapData | undefined) {
    if (data === this.#data) return;
    this.#data = data;
    this.#queue();
  }

  set mark(mark: PixelPlace | undefined) {
    if (mark?.y === this.#mark?.y && mark?.x === this.#mark?.x) return;
    this.#mark = mark;
    this.#queue();
  }

  /** The picture as it stands, as a data URL. */
  toDataURL(): string {
    this.#draw();
    return this.#canvas.toDataURL();
  }

  #queue(): void {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.#draw();
    });
  }

  #draw(): void {
    const height = this.#data?.ink.length ?? 28;
    const width = this.#data?.ink[0]?.length ?? 28;
    if (this.#canvas.width !== width * CELL) this.#canvas.width = width * CELL;
    if (this.#canvas.height !== height * CELL) this.#canvas.height = height * CELL;
    this.style.aspectRatio = `${width} / ${height}`;
    const context = this.#canvas.getContext("2d")!;
    const palette = colours();
    context.globalAlpha = 1;
    context.fillStyle = palette.paper;
    context.fillRect(0, 0, width * CELL, height * CELL);
    if (!this.#data) return;
    const { ink, signed, turns, fade = 1, most } = this.#data;
    drawInk(context, ink, palette.ink, fade);
    if (signed) drawSigned(context, signed, palette, most ?? strongest(signed.flat()));
    if (turns) drawTurns(context, ink, turns, palette);
    if (this.#mark) drawMark(context, this.#mark, palette);
  }

  #point(event: PointerEvent): void {
    const box = this.#canvas.getBoundingClientRect();
    const place = (at: number, start: number, size: number, cells: number): number =>
      Math.min(cells - 1, Math.max(0, Math.floor(((at - start) / size) * cells)));
    const [height, width] = [this.#canvas.height / CELL, this.#canvas.width / CELL];
    this.#tell({
      y: place(event.clientY, box.top, box.height, height),
      x: place(event.clientX, box.left, box.width, width),
    });
  }

  #step(event: KeyboardEvent): void {
    const steps: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const [height, width] = [this.#canvas.height / CELL, this.#canvas.width / CELL];
    this.#tell({
      y: Math.min(height - 1, Math.max(0, this.#cursor.y + step[0])),
      x: Math.min(width - 1, Math.max(0, this.#cursor.x + step[1])),
    });
  }

  #tell(place: PixelPlace | undefined): void {
    if (place) this.#cursor = place;
    this.dispatchEvent(new CustomEvent<PixelPlace | undefined>("point", { detail: place }));
  }
}

function drawInk(context: CanvasRenderingContext2D, ink: Grid, colour: string, fade: number): void {
  context.fillStyle = colour;
  ink.forEach((row, y) =>
    row.forEach((value, x) => {
      if (value <= 0.004) return;
      context.globalAlpha = Math.min(1, value) * fade;
      context.fillRect(x * CELL, y * CELL, CELL, CELL);
    }),
  );
  context.globalAlpha = 1;
}

function drawSigned(context: CanvasRenderingContext2D, signed: Grid, palette: Colours, most: number): void {
  const hatch = hatched(palette.against);
  const scale = 1 / Math.max(most, 1e-9);
  signed.forEach((row, y) =>
    row.forEach((value, x) => {
      const strength = Math.min(1, Math.abs(value) * scale);
      if (strength < 0.06) return;
      context.globalAlpha = 0.15 + 0.85 * strength;
      context.fillStyle = value > 0 ? palette.for : hatch;
      context.fillRect(x * CELL, y * CELL, CELL, CELL);
    }),
  );
  context.globalAlpha = 1;
}

/** Lines that go on from cell to cell, so that what speaks against can be told without colour. */
function hatched(colour: string): CanvasPattern {
  const tile = document.createElement("canvas");
  tile.width = tile.height = CELL;
  const context = tile.getContext("2d")!;
  context.strokeStyle = colour;
  context.lineWidth = 3.6;
  context.beginPath();
  for (const shift of [-CELL, 0, CELL]) {
    context.moveTo(shift - 1, CELL + 1);
    context.lineTo(shift + CELL + 1, -1);
  }
  context.stroke();
  return context.createPattern(tile, "repeat")!;
}

function drawTurns(context: CanvasRenderingContext2D, ink: Grid, turns: Grid, palette: Colours): void {
  context.strokeStyle = palette.accent;
  context.lineWidth = 1.8;
  context.lineCap = "round";
  context.beginPath();
  ink.forEach((row, y) =>
    row.forEach((value, x) => {
      if (value < 0.3 || (x + y) % 2) return;
      const angle = turns[y]![x]! * 2 * Math.PI;
      const [dx, dy] = [Math.cos(angle) * CELL * 0.6, Math.sin(angle) * CELL * 0.6];
      const [cx, cy] = [(x + 0.5) * CELL, (y + 0.5) * CELL];
      context.moveTo(cx - dx, cy - dy);
      context.lineTo(cx + dx, cy + dy);
    }),
  );
  context.stroke();
}

function drawMark(context: CanvasRenderingContext2D, { y, x }: PixelPlace, palette: Colours): void {
  context.lineWidth = 7;
  context.strokeStyle = palette.paper;
  context.strokeRect(x * CELL - 2, y * CELL - 2, CELL + 4, CELL + 4);
  context.lineWidth = 3.5;
  context.strokeStyle = palette.accent;
  context.strokeRect(x * CELL - 2, y * CELL - 2, CELL + 4, CELL + 4);
}

customElements.define("pixel-map", PixelMap);
