// The page: views drawn from the state, in an order in which one reads.
import { html, render } from "lit-html";
import { loadModels, proveAt } from "./asking";
import { restoreTheme } from "./pictures/colours";
import { takeDropsAndPastes } from "./pictures/files";
import { current, onChange, update, type State } from "./state";
import { placeInUrl, restoreFromUrl, writeUrlWhenSettled } from "./url";
import { answerView } from "./views/answer";
import { attackView } from "./views/attack";
import { drawView } from "./views/draw";
import { headerView } from "./views/header";
import { modelView } from "./views/model";
import { proveView } from "./views/prove";
import { seeView } from "./views/see";
import { shareView } from "./views/share";

const main = document.querySelector<HTMLElement>("main")!;
const controls = document.querySelector<HTMLElement>("#controls")!;

/** Pictures of bars and axes are drawn at the width that they have: text in them keeps its size. */
function widths(): { bars: number; side: number; full: number } {
  const full = Math.max(280, main.clientWidth);
  const within = (least: number, width: number, most: number): number => Math.max(least, Math.min(most, width));
  const wide = full >= 960;
  return {
    full,
    bars: wide ? within(300, full * 0.5 - 24 - 172, 440) : within(240, full >= 560 ? full - 172 : full, 560),
    side: wide ? within(280, (full - 48) / 2, 560) : full,
  };
}

function draw(state: State): void {
  const { full, bars, side } = widths();
  render(headerView(state), controls);
  render(
    html`<div class="hero">${drawView(state)}${answerView(state, shareView(state))}</div>
      ${seeView(state, bars)} ${proveView(state, full)} ${attackView(state, Math.min(full, 560), side)} ${modelView(state, full)}`,
    main,
  );
}

// What has been looked at is proved; nobody pays for a proof that is out of sight.
let proveIsSeen = false;
function proveWhenSeen(state: State): void {
  const settled = state.explanation && (state.knowledge?.asked ?? null) === null && !state.certifying && !state.certifyProblem;
  if (proveIsSeen && settled) proveAt(state.epsilon);
}

/** The fragment holds the state: links within the page move without it. */
function moveWithin(): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-to]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const target = document.getElementById(link.dataset["to"]!)!;
      target.tabIndex = -1;
      target.focus({ preventScroll: true });
      target.scrollIntoView();
    });
  }
}

async function start(): Promise<void> {
  restoreTheme();
  const place = placeInUrl();
  moveWithin();
  onChange(draw);
  draw(current());
  const modelsLoaded = loadModels(place.model, place.version);
  await Promise.all([modelsLoaded, restoreFromUrl(modelsLoaded)]);
  onChange(writeUrlWhenSettled);
  writeUrlWhenSettled(); // somebody may have drawn by now
  onChange(proveWhenSeen);
  takeDropsAndPastes();
  new ResizeObserver(() => update({})).observe(main);
  new IntersectionObserver((entries) => {
    proveIsSeen = entries.some((entry) => entry.isIntersecting);
    proveWhenSeen(current());
  }).observe(document.querySelector("#prove")!);
  addEventListener("hashchange", () => location.reload());
}

void start();
