"""Takes the pictures of docs/tour.md: `python web/tour.py URL` with a running service; needs chromium."""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "tour"


def explained(page: Page, url: str) -> None:
    page.goto("about:blank")
    page.goto(url)
    page.locator("#see .says", has_text="adds").wait_for()
    page.wait_for_timeout(500)


def keep(page: Page, name: str, *selectors: str) -> None:
    """Keeps what encloses the selected parts of the page, with some room around it."""
    boxes = [box for box in (page.locator(each).first.bounding_box() for each in selectors) if box]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    right = max(box["x"] + box["width"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    scrolled = page.evaluate("scrollY")
    room = 24
    clip = {
        "x": max(0, left - room),
        "y": max(0, top + scrolled - room),
        "width": right - left + 2 * room,
        "height": bottom - top + 2 * room,
    }
    taken = page.screenshot(full_page=True, clip=clip)
    Image.open(io.BytesIO(taken)).convert("RGB").save(PICTURES / f"{name}.webp", quality=82, method=6)


def walk(page: Page, url: str) -> None:
    explained(page, f"{url}/#model=mnist-3v5&sample=5-0")
    keep(page, "answer", ".intro", ".hero")
    page.locator(".waterfall .bar").first.hover()
    page.wait_for_timeout(300)
    keep(page, "see-through", "#see")
    page.mouse.move(5, 5)

    explained(page, f"{url}/#model=mnist-3v5&sample=5-0&epsilon=0.250")
    page.locator("#epsilon").scroll_into_view_if_needed()
    page.locator("#prove .says", has_text="Falsified").wait_for()
    print(page.locator("#prove .says").inner_text())
    keep(page, "proof", "#prove")

    explained(page, f"{url}/#model=mnist-3v5&sample=5-0&attack=pgd,linf,0.25")
    page.get_by_role("button", name="Attack").click()
    page.locator(".side").first.wait_for()
    page.wait_for_timeout(500)
    print(page.locator("#attack .says").inner_text())
    keep(page, "attack", "#attack")

    explained(page, f"{url}/#model=mnist-10&sample=cat")
    print(page.locator(".answer-words").inner_text())
    keep(page, "cat", ".hero")


def main(url: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(90_000)
        walk(page, url.rstrip("/"))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
