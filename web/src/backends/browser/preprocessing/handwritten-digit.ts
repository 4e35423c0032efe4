// `handwritten-digit`: into MNIST's form, light on dark, the longer side as long as the box, centred by mass.
import { findDigit } from "./plain-paper";
import type { Picture } from "./picture";
import type { Prepared } from "./prepare";
import { at, backgroundOf, clipped, cut, mapped, raster, resized, rounded, type Raster, type Window } from "./raster";

interface Form { height: number; width: number; box: number }

// A file of the network's size is taken as it is if its centre of mass is at most this far from the centre,
// and its longer side differs from the box by at most a fifth.
const CENTRED = 1.25;
// A pixel stands out from a grey background by more than this.
const STANDS_OUT = Math.fround(0.1);

export function handwrittenDigit(picture: Picture, form: Form): Prepared {
  if (picture.grey.width === form.width && picture.grey.height === form.height) return inForm(picture, form);
  const { cover, box, inverted } = findDigit(picture.grey);
  const inFile = (value: number): number => rounded(value * box.scale * picture.reduced);
  return {
    pixels: centred(boxed(cover, form), form).values,
    steps: [...picture.steps, ...(inverted ? ["inverted"] : []), "background removed", `scaled to ${form.box}x${form.box}`, "centred by mass"],
    box: { left: inFile(box.left), top: inFile(box.top), width: inFile(box.width), height: inFile(box.height) },
  };
}

/** A grey file of the network's size. */
function inForm(picture: Picture, form: Form): Prepared {
  let grey = mapped(picture.grey, (value) => Math.round(value) / 255);
  let [background, steps] = [backgroundOf(grey), picture.steps];
  if (background > 0.5) [grey, steps, background] = [mapped(grey, (value) => 1 - value), [...steps, "inverted"], 1 - background];
  let digit = cropped(grey, background);
  const longest = Math.max(digit.width, digit.height);
  const [y, x] = centreOfMass(grey);
  const isCentred = Math.abs(y - form.height / 2) <= CENTRED && Math.abs(x - form.width / 2) <= CENTRED;
  if (isCentred && (background > 0.05 || Math.abs(longest - form.box) <= form.box / 5)) return { pixels: grey.values, steps, box: null };
  if (longest !== form.box) [digit, steps] = [boxed(digit, form), [...steps, `scaled to ${form.box}x${form.box}`]];
  return { pixels: centred(digit, form).values, steps: [...steps, "centred by mass"], box: null };
}

/** All that stands out from the background, which becomes 0. */
function cropped(grey: Raster, background: number): Raster {
  const range = Math.max(grey.values.reduce((most, value) => Math.max(most, value)) - background, 1e-6);
  const lifted = mapped(grey, (value) => Math.max(0, (value - background) / range));
  return cut(lifted, around(lifted, background ? STANDS_OUT : 0));
}

/** The smallest window that holds all pixels above a threshold. */
function around({ width, values }: Raster, threshold: number): Window {
  let [left, right, top, bottom] = [Infinity, -1, Infinity, -1];
  values.forEach((value, place) => {
    if (value <= threshold) return;
    const [y, x] = [Math.floor(place / width), place % width];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  });
  return right < 0 ? { left: 0, top: 0, width: 1, height: 1 } : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function boxed(digit: Raster, { box }: Form): Raster {
  const scale = box / Math.max(digit.width, digit.height);
  const [width, height] = [digit.width, digit.height].map((side) => Math.max(1, rounded(side * scale))) as [number, number];
  return mapped(resized(digit, width, height), (value) => clipped(value, 0, 1));
}

function centred(digit: Raster, form: Form): Raster {
  const [y, x] = centreOfMass(digit);
  const top = clipped(rounded(form.height / 2 - y), 0, form.height - digit.height);
  const left = clipped(rounded(form.width / 2 - x), 0, form.width - digit.width);
  return raster(form.width, form.height, (row, column) => at(digit, row - top, column - left));
}

function centreOfMass({ width, values }: Raster): [number, number] {
  let [mass, down, across] = [0, 0, 0];
  values.forEach((value, place) => {
    mass += value;
    down += value * Math.floor(place / width);
    across += value * (place % width);
  });
  return [down / mass, across / mass];
}
