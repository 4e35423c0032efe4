"""The page for everybody: axe-core finds nothing, the keyboard is enough, at every width, in both themes."""

import pytest
from web_page import violations


def ready(page) -> None:
    page.locator(".says", has_text="adds").first.wait_for()


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "dark"),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(390, "dark", marks=pytest.mark.slow),
        pytest.param(1280, "light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_in_any_state(open_page, width, theme, screenshot):
    page = open_page("/#model=mnist-10&version=1&sample=5-1&attack=fgsm,linf,0.30", width=width, theme=theme)
    ready(page)
    page.locator("#epsilon").scroll_into_view_if_needed()
    page.locator("#prove .says", has_text="proof").wait_for()
    page.get_by_role("button", name="Attack").click()
    page.locator(".side").first.wait_for()
    page.locator("#see .picture-tools summary").first.click()
    page.locator("#model .sheet > details > summary").click()
    page.locator(".waterfall .bar").first.focus()
    assert violations(page) == []
    screenshot(page, f"everything-{width}-{theme}")
    page.get_by_role("button", name="Clear").click()
    page.locator(".answer-label", has_text="?").wait_for()
    page.wait_for_timeout(200)
    assert violations(page) == []
    screenshot(page, f"empty-{width}-{theme}")


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280, 1920])
def test_nothing_is_wider_than_the_window(open_page, width):
    page = open_page("/#model=mnist-10&version=1&sample=8-0", width=width)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(  # as before its own font has come
        "document.querySelectorAll('*').forEach(each => { each.style.fontFamily = 'system-ui'; })"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_moves_while_the_page_loads_or_answers(open_page):
    page = open_page("about:blank")
    page.add_init_script("""window.moved = 0; new PerformanceObserver(list => {
        for (const entry of list.getEntries()) window.moved += entry.value;
    }).observe({type: 'layout-shift', buffered: true});""")
    page.goto("/#sample=3-0")
    ready(page)
    for sample in (1, 7, 12):
        page.locator(".sample").nth(sample).focus()
        page.keyboard.press("Enter")
        page.wait_for_timeout(400)
    assert page.evaluate("window.moved") < 0.02


def test_everything_is_reached_by_keyboard_alone(open_page):
    page = open_page("/#sample=3-0&attack=fgsm,linf,0.30")
    ready(page)
    page.evaluate("document.activeElement.blur()")
    seen = []

    def tab_to(selector: str, most: int = 80):
        for _ in range(most):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached: {seen}")

    tab_to(".skip")
    page.keyboard.press("Enter")
    tab_to("drawing-pad")
    tab_to(".sample:nth-child(8)")
    page.keyboard.press("Enter")
    page.locator("#see .says", has_text="5, not 3").wait_for()
    tab_to(".maps pixel-map")
    page.keyboard.press("ArrowDown")
    page.locator(".reading caption", has_text="row 15, column 14").wait_for()
    tab_to(".waterfall .bar")
    page.locator(".reading", has_text="adds").wait_for()
    tab_to("#epsilon")
    before = page.locator("#epsilon").input_value()
    page.keyboard.press("ArrowRight")
    assert page.locator("#epsilon").input_value() != before
    tab_to("#attack button[type=submit]")
    page.keyboard.press("Enter")
    page.locator(".scrub").wait_for()
    tab_to(".scrub input")
    page.keyboard.press("Home")
    page.locator(".scrub", has_text="0%").wait_for()


def test_theme_is_chosen_and_kept(open_page):
    page = open_page("/", theme="light")
    ready(page)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Use the dark theme").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    ready(page)
    assert page.evaluate(colour) == dark
