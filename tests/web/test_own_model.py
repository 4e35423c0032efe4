"""The page of a model of somebody's own images: classes that are words, pictures that are not square."""

import numpy as np
import pytest
from PIL import Image
from running import running_server, sample_digits
from web_page import wait_for_answer, wait_for_explanation

import whitebox

HEIGHT, WIDTH = 12, 20
CLASSES = {"a round thing": 0, "a thin thing": 1}


@pytest.mark.slow
def test_own_images_are_shown_in_their_own_form(open_page, tmp_path, screenshot):
    images, digits = sample_digits()
    for name, digit in CLASSES.items():
        (tmp_path / "things" / name).mkdir(parents=True)
        for index, pixels in enumerate(images[digits == digit][:40]):
            picture = Image.fromarray(pixels.astype(np.uint8)).resize((WIDTH, HEIGHT))
            picture.save(tmp_path / "things" / name / f"{index}.png")
    run = whitebox.train(tmp_path / "things", "certified", out=tmp_path / "run", epsilon=0.05, epochs=40)
    whitebox.export(run, tmp_path / "models" / "things" / "1")
    served = {"WHITEBOX_MODELS_DIR": str(tmp_path / "models"), "WHITEBOX_DEFAULT_MODEL": "things"}
    with running_server(**served) as (server, _):
        page = open_page("/", server=server)
        page.get_by_text("Nothing drawn yet").wait_for()  # no sample is of its classes
        assert page.locator(".sample").count() == 1
        page.locator("input[type=file]").set_input_files(tmp_path / "things" / "a thin thing" / "3.png")
        wait_for_answer(page, "a thin thing")
        wait_for_explanation(page)
        shapes = "each => each.map((one) => one.clientWidth / one.clientHeight)"
        found = page.locator("#see pixel-map").evaluate_all(shapes)
        assert found == pytest.approx([WIDTH / HEIGHT] * len(found), rel=0.03)
        assert page.locator(".strength output").inner_text().endswith("0.05")
        screenshot(page, "own-model")
        page.context.close()
