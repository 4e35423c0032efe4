// Finds a digit on plain paper: a drawing, or a scan. As service/codecs/preprocessing does where the paper is even;
// light that falls, shadows and ruled lines of photographs are not looked for.
import { BLANK_MESSAGE, refusal } from "./picture";
import { backgroundOf, borderOf, clipped, cut, dilated, disc, distances, mapped, padded, quantile, resized, rounded, softened, square, type Raster, type Window } from "./raster";

interface Component extends Window { area: number; places: number[] }
export interface Found { cover: Raster; box: Window & { scale: number }; inverted: boolean }

const NOT_PLAIN = "this demo finds digits on plain paper only; the service finds them in photographs";
// Pictures with a shorter longer side are enlarged first.
const SMALLEST_WORKING_SIDE = 200;
// The border of plain paper differs by at most this from its median, in 0..255.
const EVEN = 26;
// Darker paper counts as this bright: its noise is no ink. Ink is at least so dark.
const [DARKEST_PAPER, LEAST_DARK] = [40, 0.15];
// Something that stands out at one of these thresholds, with a longer side of this share of the picture's shorter one.
const [THRESHOLDS, LEAST_SIDE, LEAST_AREA] = [[0, 1, 2, 3, 4, 5].map((power) => 0.05 * 1.7 ** power), 0.06, 12];
// The outline of a digit lies where its ink is half as dark as inside.
const OUTLINE = 0.5;
// Another sign is at least this tall, as a share of the tallest, and has this share of its square.
const [SIGN_HEIGHT, SIGN_AREA] = [0.45, 0.012];
// Two components above each other are one digit if this share of their size or less is between them.
const STACKED = 0.3;
// A piece of a digit is at most this far from it, and has this much of its area and its size.
const [NEAR, PIECE_AREA, PIECE_SIDE] = [0.2, 0.012, 0.08];
// Strokes of a pen thinner than this share of the digit's size are thickened.
const LEAST_STROKE = 0.13;
// The cover rises from 0 to 1 between these shares of the ink inside.
const [FADE_FROM, FADE_TO] = [0.3, 0.8];

export function findDigit(picture: Raster): Found {
  const scale = Math.max(1, Math.ceil(SMALLEST_WORKING_SIDE / Math.max(picture.width, picture.height)));
  const large = scale > 1 ? resized(picture, picture.width * scale, picture.height * scale) : picture;
  const { ink, inverted } = inkOnPaper(mapped(large, (value) => clipped(Math.round(value), 0, 255)));
  const parts = digitOf(componentsOf(ink, OUTLINE * darkness(ink)));
  const box = windowOf(parts);
  return { cover: coverOf(ink, parts, box), box: { ...box, scale: 1 / scale }, inverted };
}

/** How much ink covers each pixel: 0 for paper, about 1 for black on white or white on black. */
function inkOnPaper(picture: Raster): { ink: Raster; inverted: boolean } {
  const paper = backgroundOf(picture);
  if (borderOf(picture).some((value) => Math.abs(value - paper) > EVEN)) throw refusal(NOT_PLAIN);
  const lightOnDark = picture.values.reduce((skew, value) => skew + (value - paper) ** 3, 0) > 0;
  const [bright, sign] = lightOnDark ? [255 - paper, 1] : [paper, -1];
  const ink = mapped(softened(picture), (value) => Math.max(0, Math.round((255 * sign * (Math.round(value) - paper)) / Math.max(bright, DARKEST_PAPER))) / 255);
  return { ink, inverted: !lightOnDark };
}

/** How dark the component is that stands out most, by size and by contrast, at any threshold. */
function darkness(ink: Raster): number {
  const half = resized(ink, Math.max(1, ink.width >> 1), Math.max(1, ink.height >> 1));
  const least = LEAST_SIDE * Math.min(half.width, half.height);
  const candidates = THRESHOLDS.flatMap((threshold) => componentsOf(half, threshold))
    .filter(({ width, height, area }) => Math.max(width, height) >= least && area >= LEAST_AREA)
    .map(({ width, height, area, places }) => {
      const inside = Float32Array.from(places, (place) => half.values[place]!);
      return { dark: quantile(inside, 0.8), salience: mean(inside) * Math.sqrt(Math.hypot(width, height) * Math.sqrt(area)) };
    })
    .filter(({ dark }) => dark >= LEAST_DARK)
    .sort((one, other) => other.salience - one.salience);
  if (!candidates.length) throw refusal(BLANK_MESSAGE);
  return candidates[0]!.dark;
}

const mean = (values: Float32Array): number => values.reduce((total, value) => total + value, 0) / values.length;

/** What hangs together above a threshold, by sides or corners; the largest first. */
function componentsOf({ width, height, values }: Raster, threshold: number): Component[] {
  const seen = new Uint8Array(values.length);
  const found: Component[] = [];
  values.forEach((value, start) => {
    if (value <= threshold || seen[start]) return;
    const places = [start];
    seen[start] = 1;
    for (const place of places) { // grows while it is read
      const [y, x] = [Math.floor(place / width), place % width];
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const next = row * width + column;
          if (seen[next] || values[next]! <= threshold) continue;
          seen[next] = 1;
          places.push(next);
        }
      }
    }
    found.push({ ...boundsOf(places, width), area: places.length, places });
  });
  return found.sort((one, other) => other.area - one.area);
}

function boundsOf(places: number[], width: number): Window {
  let [left, right, top, bottom] = [Infinity, -1, Infinity, -1];
  for (const place of places) {
    const [y, x] = [Math.floor(place / width), place % width];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  }
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** The components of the one digit; a second sign beside it is refused, specks are left out. */
function digitOf(components: Component[]): Component[] {
  const [main, ...others] = components as [Component, ...Component[]];
  const tallest = Math.max(main.width, main.height);
  const signs = [main, ...others.filter(({ height, area }) => height >= SIGN_HEIGHT * tallest && area >= SIGN_AREA * tallest ** 2)];
  const groups: Component[][] = [];
  for (const sign of signs) {
    const home = groups.find(([head]) => areStacked(head!, sign));
    if (home) home.push(sign);
    else groups.push([sign]);
  }
  if (groups.length > 1) throw refusal(`${groups.length} signs were found side by side, where one digit is expected`);
  return [...groups[0]!, ...others.filter((other) => !signs.includes(other) && isPieceOf(main, other))];
}

/** How far two windows are apart across and down, 0 where they overlap. */
function gaps(one: Window, other: Window): [number, number] {
  return [
    Math.max(other.left - one.left - one.width, one.left - other.left - other.width, 0),
    Math.max(other.top - one.top - one.height, one.top - other.top - other.height, 0),
  ];
}

function areStacked(one: Window, other: Window): boolean {
  const across = Math.min(one.left + one.width, other.left + other.width) - Math.max(one.left, other.left);
  return across > 0.3 * Math.min(one.width, other.width) && gaps(one, other)[1] < STACKED * Math.max(one.width, one.height);
}

function isPieceOf(head: Component, piece: Component): boolean {
  const size = Math.max(head.width, head.height);
  return Math.hypot(...gaps(head, piece)) / size < NEAR && piece.area >= PIECE_AREA * head.area && Math.max(piece.width, piece.height) >= PIECE_SIDE * size;
}

function windowOf(parts: Component[]): Window {
  const [left, top] = [Math.min(...parts.map((part) => part.left)), Math.min(...parts.map((part) => part.top))];
  const [right, bottom] = [Math.max(...parts.map((part) => part.left + part.width)), Math.max(...parts.map((part) => part.top + part.height))];
  return { left, top, width: right - left, height: bottom - top };
}

/** How much of each pixel the digit's ink covers, its strokes as thick as MNIST's at least. */
function coverOf(ink: Raster, parts: Component[], box: Window): Raster {
  const whole = mapped(ink, () => 0);
  for (const place of parts.flatMap((part) => part.places)) whole.values[place] = 1;
  const [own, inside] = [cut(whole, box), cut(ink, box)];
  const dark = quantile(inside.values.filter((_, place) => own.values[place]), 0.7);
  const near = dilated(own, square(Math.max(1, rounded(0.03 * Math.max(box.width, box.height)))));
  const cover = mapped(inside, (value, place) => clipped((value / dark - FADE_FROM) / (FADE_TO - FADE_FROM), 0, 1) * near.values[place]!);
  return thickened(cover, own);
}

/** The strokes of a thin pen as if a pen as thick as MNIST's had drawn them. */
function thickened(cover: Raster, own: Raster): Raster {
  const inside = distances(padded(own, 1)).values.filter((value) => value > 0);
  const width = 4 * mean(inside) - 1;
  const lacks = rounded((LEAST_STROKE * Math.max(own.width, own.height) - width) / 2);
  return lacks < 1 ? cover : dilated(padded(cover, lacks), disc(lacks));
}
