"""Reading the page, and drawing on it."""

import pytest
from running import ROOT

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A 3, in shares of the drawing.
STROKE = [(0.3, 0.25), (0.5, 0.18), (0.68, 0.3), (0.5, 0.46), (0.7, 0.62), (0.52, 0.8), (0.3, 0.72)]


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))


def answer(page) -> str:
    return page.locator(".answer-label").inner_text()


def wait_for_answer(page, label=r"\d") -> None:
    page.wait_for_function(
        "label => new RegExp(label).test(document.querySelector('.answer-label').textContent)", arg=label
    )


def wait_for_explanation(page) -> None:
    page.locator(".says", has_text="adds").first.wait_for()


def wait_until_settled(page) -> None:
    """Waits until no answer changes the page any more."""
    before = None
    while (now := page.locator("main").text_content()) != before:
        before = now
        page.wait_for_timeout(500)


def wait_for_logit(page, logit: float) -> None:
    text = f"{logit:+.3f}".replace("-", "\N{MINUS SIGN}")
    page.locator(".total-number", has_text=text).first.wait_for()


def draw(page, points=STROKE, steps=4, lift=True) -> None:
    box = page.locator("drawing-pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    if lift:
        page.mouse.up()


def bars(page, claim: int) -> list[float]:
    texts = page.locator(".claim").nth(claim).locator(".waterfall .bar .number").all_text_contents()
    return [number(text) for text in texts]


def violations(page) -> list[str]:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: cd web && npm ci")
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )["violations"]  # fmt: skip
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}" for each in found for node in each["nodes"]
    ]
