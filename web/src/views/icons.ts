// Icons, drawn by hand on a grid of 16.
import { svg, html, type TemplateResult } from "lit-html";

const SHAPES = {
  undo: svg`<path d="M6.5 3 3 6.5 6.5 10M3 6.5h6.2a3.8 3.8 0 0 1 0 7.5H6" />`,
  clear: svg`<path d="M4 4l8 8M12 4l-8 8" />`,
  image: svg`<rect x="2" y="3" width="12" height="10" rx="1.5" /><path d="m2.5 11.5 3.5-3.5 2.5 2.5 2-2 3 3" /><circle cx="10.5" cy="6" r="0.8" />`,
  link: svg`<path d="M6.8 9.2a2.6 2.6 0 0 0 3.8.2l2-2a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.2 6.8a2.6 2.6 0 0 0-3.8-.2l-2 2a2.6 2.6 0 0 0 3.7 3.7l.8-.8" />`,
  code: svg`<path d="M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5" />`,
  save: svg`<path d="M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10" />`,
  sun: svg`<circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1" />`,
  moon: svg`<path d="M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6Z" />`,
  play: svg`<path d="M5 3.5v9l7-4.5z" />`,
  stop: svg`<rect x="4" y="4" width="8" height="8" rx="1" />`,
} as const;

export const icon = (name: keyof typeof SHAPES): TemplateResult =>
  html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
