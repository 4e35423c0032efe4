// Pictures to keep: as SVG with the page's colours written into it, or as PNG at twice its size.
import type { PixelMap } from "./pixel-map";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-family", "font-size", "font-weight"];
const NAMESPACE = "http://www.w3.org/2000/svg";

export async function savePicture(home: Element, title: string, format: "svg" | "png"): Promise<void> {
  const drawn = home.querySelector<SVGSVGElement>("svg:not(.icon)");
  const map = home.querySelector<PixelMap>("pixel-map");
  const picture = drawn ? standalone(drawn) : map ? wrapped(map) : null;
  if (!picture) return;
  const name = title.replace(/[^\w]+/g, "-").toLowerCase();
  const text = new XMLSerializer().serializeToString(picture);
  const blob = new Blob([text], { type: "image/svg+xml" });
  saveAs(format === "svg" ? blob : await painted(blob, picture), `${name}.${format}`);
}

/** A copy that needs no style sheet. */
function standalone(svg: SVGSVGElement): SVGSVGElement {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, index) => {
    const style = getComputedStyle(originals[index]!);
    for (const name of STYLES) element.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "tabindex"]) element.removeAttribute(name);
  });
  const patterns = document.querySelector("#patterns defs");
  if (patterns) {
    const defs = patterns.cloneNode(true) as Element;
    [...patterns.querySelectorAll("*")].forEach((original, index) => {
      for (const name of ["fill", "stroke", "stroke-width"]) defs.querySelectorAll("*")[index]!.setAttribute(name, getComputedStyle(original).getPropertyValue(name));
    });
    copy.prepend(defs);
  }
  return onPaper(copy, Number(svg.getAttribute("width")), Number(svg.getAttribute("height")));
}

function wrapped(map: PixelMap): SVGSVGElement {
  const svg = document.createElementNS(NAMESPACE, "svg");
  const image = document.createElementNS(NAMESPACE, "image");
  const width = 280;
  const height = Math.round((width * map.clientHeight) / map.clientWidth);
  for (const [name, value] of Object.entries({ href: map.toDataURL(), width, height })) image.setAttribute(name, String(value));
  svg.append(image);
  return onPaper(svg, width, height);
}

function onPaper(svg: SVGSVGElement, width: number, height: number): SVGSVGElement {
  const paper = document.createElementNS(NAMESPACE, "rect");
  const colour = getComputedStyle(document.body).backgroundColor;
  for (const [name, value] of Object.entries({ width, height, fill: colour })) paper.setAttribute(name, String(value));
  svg.prepend(paper);
  for (const [name, value] of Object.entries({ xmlns: NAMESPACE, width, height, viewBox: `0 0 ${width} ${height}` })) svg.setAttribute(name, String(value));
  return svg;
}

async function painted(svg: Blob, { width, height }: SVGSVGElement): Promise<Blob> {
  const url = URL.createObjectURL(svg);
  const image = new Image();
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const canvas = new OffscreenCanvas(2 * width.baseVal.value, 2 * height.baseVal.value);
  const context = canvas.getContext("2d")!;
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/png" });
}

export function saveAs(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
