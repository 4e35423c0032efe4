"""How quickly the page answers: first paint, and from a movement of the pen to the new answer on the screen.

`python -m benchmarks.page` needs chromium and an otherwise idle machine; writes benchmarks/results/page.json.
"""

import gzip
import json
import shutil
import statistics
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, "tests")
from running import ROOT, running_server

RESULT = Path(__file__).parent / "results" / "page.json"
FILES = ROOT / "service" / "web" / "files"
MOVES = 60
# From the event of the pen to the frame after the table of classes has changed.
OBSERVE = """() => {
    window.took = [];
    let moved = 0;
    const pad = document.querySelector('drawing-pad');
    pad.addEventListener('pointermove', event => { moved ||= event.timeStamp; });
    new MutationObserver(() => {
        if (!moved) return;
        const since = moved;
        moved = 0;
        requestAnimationFrame(() => window.took.push(performance.now() - since));
    }).observe(document.querySelector('.classes'),
        {subtree: true, childList: true, characterData: true, attributes: true});
}"""


def answer_times(page: Page) -> list[float]:
    """Draws slowly, so that every movement is a question of its own; returns milliseconds."""
    box = page.locator("drawing-pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.down()
    for move in range(6):
        page.mouse.move(box["x"] + 100 + 15 * move, box["y"] + 80)
    page.wait_for_timeout(500)
    page.evaluate(OBSERVE)
    for move in range(MOVES):
        page.mouse.move(box["x"] + 190 - move, box["y"] + 80 + 3 * move)
        page.wait_for_timeout(150)
    page.mouse.up()
    took: list[float] = page.evaluate("window.took")
    return took


def measure(url: str, executable: str) -> dict[str, float]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        paints = []
        for _ in range(5):
            page.goto(url)
            page.locator(".says", has_text="adds").first.wait_for()
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            paints.append(page.evaluate(paint))
        answers = answer_times(page)
        browser.close()
    return {
        "first_contentful_paint_ms": round(statistics.median(paints), 1),
        "pen_to_answer_ms_median": round(statistics.median(answers), 1),
        "pen_to_answer_ms_p95": round(statistics.quantiles(answers, n=20)[-1], 1),
        "answers": len(answers),
    }


def main() -> None:
    executable = shutil.which("chromium")
    if executable is None:
        raise SystemExit("There is no chromium: apt-get install chromium")
    with running_server() as (client, _):
        found = measure(str(client.base_url), executable)
    first = [FILES / name for name in ("index.html", "page.js", "page-style.css", "inter.woff2")]
    found["gzipped_bytes"] = sum(len(gzip.compress(path.read_bytes(), 9)) for path in first)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
