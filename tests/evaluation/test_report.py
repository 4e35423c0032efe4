"""The report says what the cards say, says what is missing, and knows when it is out of date."""

import io
import os
import re
import subprocess
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from report_cards import card, row, section, write_cards
from running import ROOT, WHITEBOX
from typer.testing import CliRunner

from evaluation.report.cards import (
    CardError,
)
from evaluation.report.document import make_report
from whitebox.cli import app

PUBLISHED = ROOT / "docs" / "RESULTS.md"


def test_with_all_cards_every_section_has_its_table_or_picture(written):
    titles = re.findall(r"^## (.*)$", written.text, re.M)
    assert len(titles) == 23
    assert titles[0] == "One explanation"
    for title in titles:
        assert "| --- |" in section(written, title) or "![" in section(written, title), title
    left_out = [line for line in written.text.splitlines() if "Left out" in line]
    assert len(left_out) == 1  # two of the four networks were not looked into
    assert "no mnist-3v5-certified.inside.json, mnist-10-certified.inside.json" in left_out[0]


def test_numbers_in_the_tables_are_the_cards_numbers(written):
    models = section(written, "All networks")
    assert row(models, "mnist-3v5")[1:] == [
        "4,810", "99.00%", "92.11%", "60.25%", "40.25%", "10.25%"
    ]  # fmt: skip
    assert row(models, "cnn")[2:] == ["99.05%", "92.11%", "–", "–", "–"]  # noqa: RUF001
    attacks = section(written, "Attack by attack")
    names = ["pgd-40", "pgd-100x10", "apgd-ce", "fab-t", "square", "bpda", "movable", "all of them"]
    assert row(attacks, "network")[1:] == names
    shares = ["92.51%", *["92.31%"] * 3, "93.11% (500)", *["92.31%"] * 2, "92.11%"]
    assert row(attacks, "mnist-10")[1:] == shares
    assert "- square: random search with squares, no gradients (Andriushchenko 2020); steps 5000" in attacks
    assert "| cnn | 50 | 2.345 | 0.512 |" in attacks


def test_seeds_come_with_mean_and_spread(written):
    text = section(written, "Several seeds")
    assert row(text, "3")[1] == "99.15%"
    assert row(text, "**mean**")[1] == "**99.14%**"
    assert row(text, "standard deviation, points")[1] == "± 0.02"
    assert row(text, "lowest to highest")[1] == "99.12% to 99.16%"


def test_what_falls_behind_the_paper_is_said_as_plainly_as_what_does_not(written):
    text = section(written, "The paper's numbers and ours")
    assert row(text, "parameters")[1:5] == ["4.8K", "4,828", "4,810", "−18"]  # noqa: RUF001
    clean, pgd = row(text, "clean test accuracy"), row(text, "L-inf 0.3, 40-step PGD")
    assert clean[3:] == ["99.00%", "−0.50 points, **worse**", "99.14%"]  # noqa: RUF001
    assert pgd[3:5] == ["92.51%", "+0.51 points, better"]
    assert row(text, "two-step layer, lower threshold")[1:] == ["0.365", "0.366", "+0.001"]
    goals = section(written, "Goals, set before the work")
    assert "| mnist-3v5 | clean | ≥ 99.40% | 99.00% | **no** |" in goals
    assert "| mnist-3v5 | worst attack, 0.3 | ≥ 92.00% | 92.11% | yes |" in goals


def test_what_lies_beyond_the_ball_is_told_of_every_network_that_was_measured_there(written):
    text = section(written, "Beyond the ball")
    spoilt, moved = text.split("The smallest change found")
    assert row(spoilt, "mnist-10")[1:4] == [
        "1,000",
        row(section(written, "All networks"), "mnist-10")[2],
        "84.21%",
    ]
    assert row(spoilt, "network")[4:] == [
        "salt and pepper, 10%",
        "blur, sigma 1.5",
        "shifted by 2",
        "turned by 20°",
    ]
    assert row(spoilt, "cnn")[6] == "91.35%"
    assert row(moved, "mnist-10")[1:] == ["100", "2.86", "18"]


def test_a_failed_check_is_spelled_out(written):
    text = section(written, "Are gradients masked?")
    assert "1. unbounded epsilon reaches 0%\n2. more steps never help\n" in text
    assert row(text, "cnn-thresholded")[1:] == ["pass", "**FAIL**"]
    assert row(text, "cnn")[1:] == ["pass", "–"]  # noqa: RUF001
    assert "- cnn-thresholded, more steps never help: 91.0% after 40, 93.0% after 100" in text


def test_trials_of_certified_training_are_listed(written):
    text = section(written, "The search for certified training")
    assert "In all of them: epsilon 0.305." in text
    assert row(text, "trial")[4:6] == ["clean", "certified_0.3"]
    assert row(text, "t1") == [
        "t1",
        "4 shapes a class, 20x20, 32 poses; 2 kernels, 5x5, 32 rotations",
        "4,810",
        "k 0.9",
        "99.10%",
        "93.40%",
        "10.0",
        "t1 at its clamp",
    ]
    assert row(text, "t2")[3:5] == ["k 1, epochs 60", "98.80%"]


def test_a_missing_card_is_said_with_the_command_that_makes_it(tmp_path):
    write_cards(tmp_path / "cards", {"mnist-3v5": card("mnist-3v5/1")})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    command = f"whitebox evaluate runs/cnn-0 --out {tmp_path}/cards/cnn.json"
    assert f"`whitebox train --recipe cnn --seed 0 && {command}`" in section(report, "All networks")
    assert "Left out: no card mnist-3v5-seed-0.json, " in section(report, "Several seeds")
    kernels = section(report, "Kernels in their rotations")
    assert f"`whitebox inside artifacts/mnist-3v5/1 --out {tmp_path}/cards/mnist-3v5.inside.json`" in kernels


def test_without_any_card_every_section_but_the_goals_is_left_out(tmp_path):
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    titles = set(re.findall(r"^## (.*)$", report.text, re.M)) - {"Goals, set before the work"}
    for title in titles:
        lines = [line for line in section(report, title).splitlines() if line]
        assert len(lines) == 1, title
        assert lines[0].startswith("*Left out: "), title
    assert report.figures == []


def test_the_same_cards_give_the_same_bytes(written, cards, tmp_path):
    again = make_report(cards, written.page)
    assert again.text == written.text
    for picture in again.figures:
        assert picture.content() == (written.figures_directory / picture.file).read_bytes(), picture.file


@pytest.mark.slow
def test_another_process_finds_the_page_up_to_date(cards, written):
    command = [WHITEBOX, "report", "--check", "--cards", cards, "--out", written.page]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # the order in which a set gives what is in it
    subprocess.run(command, check=True, capture_output=True, env=environment)


def test_pictures_are_vectors_without_colour_and_fit_the_page(written):
    small = 0
    for picture in written.figures:
        text = (written.figures_directory / picture.file).read_text()
        small += len(text)
        root = ElementTree.fromstring(text)
        assert float(root.get("width").removesuffix("pt")) <= 1040, picture.file
        if picture.file == "explanation.svg":
            continue  # blue and orange; hatches tell them apart in print
        colours = set(re.findall(r"#[0-9a-f]{6}", text))
        assert all(c[1:3] == c[3:5] == c[5:7] for c in colours), picture.file
        for image in re.findall(r"data:image/png;base64,([^\"]+)", text):
            red, green, blue = Image.open(io.BytesIO(b64decode(image))).convert("RGB").split()
            assert red.tobytes() == green.tobytes() == blue.tobytes(), picture.file
    assert small < 3_000_000


def test_the_explanation_is_that_of_a_digit_of_the_first_network(written):
    drawn = (written.figures_directory / "explanation.svg").read_text()
    assert "sum = logit of 3:" in drawn
    assert "A test image of `" in section(written, "One explanation")


def test_a_network_whose_gradients_are_masked_is_marked_so(written):
    marked = "cnn-thresholded, **gradients masked**"
    for title in ("All networks", "Attack by attack"):
        assert row(section(written, title), marked)
    assert row(section(written, "Reliability"), "cnn-thresholded (gradients masked)")
    assert "mnist-3v5, **gradients" not in written.text


def test_the_published_pictures_say_what_shapes_like_noise_mean():
    assert re.search(r"look like noise: in (\d+) of them .* \d+ of the \1 add nothing", PUBLISHED.read_text())


def test_check_notices_what_is_not_what_the_cards_give(cards, written, tmp_path):
    page, pictures = tmp_path / "RESULTS.md", tmp_path / "results" / "pictures"
    copied = tmp_path / "results" / "cards"
    write_cards(copied, {"mnist-3v5": card("mnist-3v5/1")})
    command = ["report", "--cards", str(copied), "--out", str(page)]
    assert run(command) == (0, "")
    assert run([*command, "--check"]) == (0, "")

    write_cards(copied, {"mnist-3v5": card("mnist-3v5/1", clean=0.9942)})
    stale = f"Not what the cards give: {page}, {pictures / 'proved.svg'}, {pictures / 'by-epsilon.svg'}"
    assert run([*command, "--check"]) == (1, stale)
    assert run(command) == (0, "")
    assert run([*command, "--check"]) == (0, "")

    (pictures / "old.svg").write_text("<svg/>")
    assert run([*command, "--check"]) == (1, f"Not what the cards give: {pictures / 'old.svg'}")
    (pictures / "old.svg").unlink()
    (pictures / "proved.svg").unlink()
    assert run([*command, "--check"]) == (1, f"Not what the cards give: {pictures / 'proved.svg'}")


def run(command) -> tuple[int, str]:
    """The exit code of `whitebox`, and its complaint up to the advice."""
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.stderr.partition(". Write anew")[0]


def test_a_file_that_is_no_card_is_named(tmp_path):
    write_cards(tmp_path, {"mnist-3v5": {"model": "x"}})
    with pytest.raises(CardError, match=r"mnist-3v5.json is no card .* lacks kind"):
        make_report(tmp_path, tmp_path / "RESULTS.md")


def test_the_published_page_is_what_the_published_cards_give(monkeypatch):
    monkeypatch.chdir(ROOT)  # the page names the cards as commands do, from the repository's root
    assert make_report(Path("docs/results/cards"), Path("docs/RESULTS.md")).out_of_date() == []
