"""The page without a server, as `make demo` builds it: the same answers from the browser alone."""

import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from running import ROOT
from web_page import answer, bars, draw, number, violations, wait_for_explanation, wait_until_settled

WEB = ROOT / "web"
DEMO = ROOT / "build" / "demo"
SAMPLES = DEMO / "samples"
PNG = {"Content-Type": "image/png"}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


pytestmark = pytest.mark.slow  # the page of the service, test_flows.py, is the same code


@pytest.fixture(scope="module")
def demo() -> Iterator[httpx.Client]:
    """A static host that has the demo in a folder."""
    if not (WEB / "node_modules" / "onnxruntime-web").exists() or shutil.which("npm") is None:
        pytest.skip("onnxruntime-web is not installed: cd web && npm ci")
    subprocess.run(["npm", "run", "--silent", "demo"], cwd=WEB, check=True)
    handler = functools.partial(_Quiet, directory=DEMO.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{host.server_port}") as client:
            yield client
        host.shutdown()


def logits_on(page) -> dict[str, float]:
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator(".classes tbody tr").all()]
    return {label: number(logit) for label, _, _, logit in rows}


@pytest.mark.parametrize(("model", "sample"), [("mnist-10", "3-0"), ("fashion-mnist", "8-0")])
def test_sample_gets_the_answer_and_the_explanation_of_the_service(open_page, client, demo, model, sample):
    content = (SAMPLES / f"{sample}.png").read_bytes()
    asked = {"model": model, "include": "claims"}
    (told,) = client.post("/v1/explain", content=content, params=asked, headers=PNG).json()["explanations"]
    page = open_page(f"/demo/#model={model}&sample={sample}", server=demo)
    wait_for_explanation(page)
    assert answer(page) == str(told["label"])
    assert logits_on(page) == pytest.approx(told["logits"], abs=5.2e-4)
    assert f"p = {told['typicality']['p_value']:.4f}" in page.locator(".answer-words").inner_text()
    labels = sorted(told["logits"], key=lambda label: -told["logits"][label])
    for claim, label in enumerate(labels[:2]):
        found = bars(page, claim)
        contributions = sorted(told["claims"][label]["contributions"], key=abs, reverse=True)
        assert found[:-1] == pytest.approx(contributions[: len(found) - 1], abs=5.2e-4)
        total = number(page.locator(".claim").nth(claim).locator(".total-number").text_content())
        assert sum(found) == pytest.approx(total, abs=1e-3 * len(found))


def test_drawing_is_brought_into_form_as_the_service_does(open_page, demo):
    here, there = (
        open_page(f"{path}#model=mnist-10&sample=8-0", **where)
        for path, where in (("/demo/", {"server": demo}), ("/", {}))
    )
    for page in (here, there):
        wait_for_explanation(page)
        draw(page)
        page.locator(".how-read", has_text="background removed").wait_for()
        page.locator("#see .says", has_text="3, not").wait_for()
        wait_until_settled(page)
    assert answer(here) == answer(there)
    steps = here.locator(".how-read").inner_text().partition(": ")[2]
    assert there.locator(".how-read").inner_text().endswith(steps)
    assert logits_on(here) == pytest.approx(logits_on(there), abs=0.05)


def test_proof_is_the_services(open_page, client, demo):
    pixels = np.asarray(Image.open(SAMPLES / "3-0.png"), np.float32) / np.float32(255)
    body = {
        "images": [pixels.astype(float).tolist()],
        "model": "mnist-10-certified",
        "epsilon": 0.1,
        "radius": True,
    }
    (told,) = client.post("/v1/certify", json=body).json()["results"]
    page = open_page("/demo/#model=mnist-10-certified&sample=3-0&epsilon=0.100", server=demo)
    wait_for_explanation(page)
    page.locator("#epsilon").scroll_into_view_if_needed()
    says = page.locator("#prove .says", has_text="Proved")
    says.wait_for()
    margin, radius = (number(each) for each in re.findall(r"[+\u2212]?\d+\.\d{3}", says.inner_text())[1:3])
    assert margin == pytest.approx(told["margin_lower_bound"], abs=1e-3)
    assert radius == pytest.approx(told["certified_radius"], abs=1e-3)
    page.locator("#epsilon").fill("0.5")
    page.locator("#prove .says", has_text=re.compile("Falsified|Unknown")).wait_for()


def test_attack_runs_in_the_browser_and_stays_in_the_ball(open_page, client, demo, screenshot):
    page = open_page("/demo/#model=mnist-3v5&sample=5-0&attack=pgd,linf,0.40", server=demo)
    wait_for_explanation(page)
    page.get_by_role("button", name="Attack").click()
    page.locator("#attack .says", has_text="It worked").wait_for()
    words = page.locator("#attack .says").inner_text()
    assert "5 became 3" in words
    assert number(re.search(r"more than (\d\.\d+)", words)[1]) <= 0.4
    before, after = page.locator(".side h3").all_inner_texts()
    assert (before, after) == ("before: 5", "after: 3")
    offered = page.locator("#attack select").first.locator("option").count()
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert offered + 7 == len(schemas["AttackRequest"]["properties"]["attack"]["enum"])
    screenshot(page, "demo-attacked")


def test_model_is_the_services(open_page, client, demo):
    page = open_page("/demo/#sample=3-0", server=demo)
    wait_for_explanation(page)
    default = client.get("/v1/models/mnist-10").json()
    assert default["digest"] in page.locator("#model .facts").first.inner_text()
    page.get_by_label("Model", exact=True).select_option("mnist-3v5/6")
    sheet = client.get("/v1/models/mnist-3v5/sheet").json()
    weights = [sheet["rows"][str(each["speaks_for"])][index] for index, each in enumerate(sheet["shapes"])]
    page.wait_for_function(
        "count => document.querySelectorAll('.shape-sheet figure').length === count", arg=len(weights)
    )
    shown = page.locator(".shape-sheet figcaption .muted").all_inner_texts()
    assert [number(each) for each in shown] == pytest.approx(weights, abs=5.1e-3)
    page.locator(".waterfall .bar").first.hover()
    page.locator(".reading", has_text="those of the two-step map").wait_for()
    words = page.locator(".reading p").inner_text()
    total, bright, two_step = (number(each) for each in re.findall(r"[+\u2212]\d+\.\d+", words))
    assert total == bright == two_step  # by the sheet's kernels


def test_photograph_is_refused_with_the_way_to_read_it(open_page, demo):
    light = np.linspace(60, 230, 640)[None, :].repeat(480, 0)
    light[200:300, 300:330] -= 50
    file = io.BytesIO()
    Image.fromarray(light.astype(np.uint8)).save(file, "JPEG")
    page = open_page("/demo/#sample=3-0", server=demo)
    wait_for_explanation(page)
    photograph = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
    page.locator("input[type=file]").set_input_files(photograph)
    page.get_by_role("alert", name="").filter(has_text="the service finds them in photographs").wait_for()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_limits_are_said(open_page, demo, width, theme, screenshot):
    page = open_page("/demo/#sample=5-1&attack=fgsm,linf,0.30", server=demo, width=width, theme=theme)
    wait_for_explanation(page)
    page.locator("#epsilon").scroll_into_view_if_needed()
    page.locator("#prove .says", has_text=re.compile("Proved|Falsified|Unknown")).wait_for()
    page.get_by_role("button", name="Attack").click()
    page.locator(".side").first.wait_for()
    assert page.locator(".limit").count() == 3
    assert "make serve" in page.locator(".intro").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    screenshot(page, f"demo-{width}-{theme}")


def test_folder_holds_all_that_it_needs_and_the_licences(demo):
    document = (DEMO / "index.html").read_text()
    links = re.findall(r'(?:src|href)="([^"#]+)"', document)
    assert "page.js" in links
    assert all((DEMO / link).exists() for link in links)
    assert "default-src 'none'" in document
    licences = (DEMO / "LICENSES.txt").read_text()
    for name in ("onnxruntime-web", "lit-html", "Eigen", "protocolbuffers"):
        assert name.lower() in licences.lower()
    index = json.loads((DEMO / "models" / "index.json").read_text())
    assert {each["name"] for each in index["models"]} == {
        path.parent.parent.name for path in ROOT.glob("artifacts/*/*/manifest.json")
    }
