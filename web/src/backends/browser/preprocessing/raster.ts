// Operations on grey images, as OpenCV does them for the service.

export interface Raster { width: number; height: number; values: Float32Array }

export const raster = (width: number, height: number, value: (y: number, x: number) => number): Raster => {
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) values[y * width + x] = value(y, x);
  return { width, height, values };
};

/** A pixel, or zero outside. */
export const at = ({ width, height, values }: Raster, y: number, x: number): number =>
  y >= 0 && y < height && x >= 0 && x < width ? values[y * width + x]! : 0;

export const mapped = ({ width, height, values }: Raster, change: (value: number, at: number) => number): Raster => ({ width, height, values: values.map(change) });

export interface Window { left: number; top: number; width: number; height: number }

export const cut = (image: Raster, { left, top, width, height }: Window): Raster => raster(width, height, (y, x) => at(image, top + y, left + x));

export const padded = (image: Raster, margin: number): Raster =>
  cut(image, { left: -margin, top: -margin, width: image.width + 2 * margin, height: image.height + 2 * margin });

/** The pixels of the four sides; each corner belongs to two. */
export function borderOf(image: Raster): Float32Array {
  const { width, height } = image;
  const sides: Window[] = [
    { left: 0, top: 0, width, height: 1 }, { left: 0, top: height - 1, width, height: 1 },
    { left: 0, top: 0, width: 1, height }, { left: width - 1, top: 0, width: 1, height },
  ];
  return Float32Array.from(sides.flatMap((side) => [...cut(image, side).values]));
}

/** The median of the border. */
export const backgroundOf = (image: Raster): number => quantile(borderOf(image), 0.5);

/** Python's round: halves go to the even neighbour. */
export const rounded = (value: number): number => {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
};

export const clipped = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** numpy's quantile, linear between the two nearest values. */
export function quantile(values: Float32Array, share: number): number {
  const ordered = values.toSorted();
  const place = share * (ordered.length - 1);
  const low = ordered[Math.floor(place)]!;
  return low + (place % 1) * (ordered[Math.ceil(place)]! - low);
}

/** Shrinks by means over the area of each new pixel (INTER_AREA), or enlarges by cubic interpolation (INTER_CUBIC). */
export function resized(image: Raster, width: number, height: number): Raster {
  const weigh = width < image.width || height < image.height ? areaWeights : cubicWeights;
  return weighted(image, weigh(image.width, width), weigh(image.height, height));
}

export type Weights = [place: number, weight: number][][];

/** Each new pixel is the weighted sum of some old ones along each axis. */
export function weighted(image: Raster, across: Weights, down: Weights): Raster {
  const total = (weights: Weights[number], value: (place: number) => number): number => weights.reduce((sum, [place, weight]) => sum + weight * value(place), 0);
  const rows = raster(across.length, image.height, (y, x) => total(across[x]!, (place) => image.values[y * image.width + place]!));
  return raster(across.length, down.length, (y, x) => total(down[y]!, (place) => rows.values[place * rows.width + x]!));
}

function areaWeights(old: number, size: number): Weights {
  const scale = old / size;
  return Array.from({ length: size }, (_, place) => {
    const [start, end] = [place * scale, Math.min((place + 1) * scale, old)];
    const first = Math.floor(start);
    return Array.from({ length: Math.ceil(end - 1e-9) - first }, (_, step): [number, number] => {
      const covered = Math.min(first + step + 1, end) - Math.max(first + step, start);
      return [first + step, covered / (end - start)];
    });
  });
}

const SHARPNESS = -0.75;
function cubicWeights(old: number, size: number): Weights {
  const curve = (distance: number): number =>
    distance <= 1
      ? (SHARPNESS + 2) * distance ** 3 - (SHARPNESS + 3) * distance ** 2 + 1
      : SHARPNESS * (distance ** 3 - 5 * distance ** 2 + 8 * distance - 4);
  return Array.from({ length: size }, (_, place) => {
    const middle = ((place + 0.5) * old) / size - 0.5;
    const first = Math.floor(middle) - 1;
    return [0, 1, 2, 3].map((step): [number, number] => [clipped(first + step, 0, old - 1), curve(Math.abs(middle - first - step))]);
  });
}

const BINOMIAL = [1, 4, 6, 4, 1].map((weight) => weight / 16);
/** A Gaussian over 5 x 5 pixels, mirrored at the edges. */
export function softened(image: Raster): Raster {
  const mirrored = (place: number, size: number): number => (place < 0 ? -place : place >= size ? 2 * (size - 1) - place : place);
  const along = (size: number): Weights => Array.from({ length: size }, (_, place) => BINOMIAL.map((weight, step) => [mirrored(place + step - 2, size), weight]));
  return weighted(image, along(image.width), along(image.height));
}

/** The largest value under a structuring element, whose rows reach so far to the left and to the right. */
export function dilated(image: Raster, reaches: readonly number[]): Raster {
  const middle = (reaches.length - 1) / 2;
  return raster(image.width, image.height, (y, x) => {
    let most = 0;
    reaches.forEach((reach, row) => {
      for (let dx = -reach; dx <= reach; dx++) most = Math.max(most, at(image, y + row - middle, x + dx));
    });
    return most;
  });
}

export const square = (radius: number): number[] => Array.from({ length: 2 * radius + 1 }, () => radius);
export const disc = (radius: number): number[] => square(radius).map((_, row) => rounded(Math.sqrt(radius ** 2 - (row - radius) ** 2)));

const [STRAIGHT, DIAGONAL] = [0.955, 1.3693];
/** How far each pixel of a mask is from the nearest one outside (DIST_L2 with a mask of 3 x 3). */
export function distances(mask: Raster): Raster {
  const { width, height } = mask;
  const found = mapped(mask, (value) => (value > 0 ? Infinity : 0));
  const nearer = (y: number, x: number, side: 1 | -1): void => {
    const place = y * width + x;
    const from = (dy: number, dx: number, step: number): number =>
      y + dy >= 0 && y + dy < height && x + dx >= 0 && x + dx < width ? found.values[place + dy * width + dx]! + step : Infinity;
    found.values[place] = Math.min(found.values[place]!, from(0, -side, STRAIGHT), from(-side, 0, STRAIGHT), from(-side, -1, DIAGONAL), from(-side, 1, DIAGONAL));
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) nearer(y, x, 1);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) nearer(y, x, -1);
  return found;
}
