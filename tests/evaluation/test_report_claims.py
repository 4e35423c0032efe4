"""The report claims no more than was measured: whole suites, whole sets, and proofs that hold."""

import pytest
from report_cards import attack, card, curve, row, section, section_of, write_cards
from running import ROOT

from evaluation.report.cards import (
    certified,
    certified_curve,
    ran_whole_suite,
    read_cards,
)
from evaluation.report.document import make_report

PUBLISHED = ROOT / "docs" / "RESULTS.md"


def test_what_was_measured_on_some_digits_only_never_passes_for_the_whole(tmp_path):
    some = card("mnist-3v5/1", data={"source": "MNIST, test, first 10", "count": 10, "sha256": "ab" * 32})
    write_cards(tmp_path / "cards", {"mnist-3v5": some})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    goals = section(report, "Goals, set before the work")
    assert "| mnist-3v5 | worst attack, 0.3 | ≥ 92.00% | 92.11% | not on all images |" in goals
    assert "| mnist-3v5 (**10 images only**) |" in section(report, "All networks")
    assert "**10 images only**" in section(report, "The paper's numbers and ours")


def test_a_worst_case_over_few_attacks_never_passes_for_the_worst(tmp_path):
    few = card("mnist-3v5/1", accuracy_by_epsilon=[])
    few["attacks"] = few["attacks"][:1]
    write_cards(tmp_path / "cards", {"mnist-3v5": few, "mnist-3v5-seed-0": few})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    goals = section(report, "Goals, set before the work")
    assert "| mnist-3v5 | worst attack, 0.3 | ≥ 92.00% | 92.11% | not under all attacks |" in goals
    assert row(section(report, "All networks"), "mnist-3v5")[3] == "92.11% (1 attack)"
    assert "worst attack" not in section(report, "Several seeds")
    commands = row(section(report, "How it was measured"), "`mnist-3v5`")[-1]
    assert commands.startswith("`whitebox evaluate artifacts/mnist-3v5/1 --attack pgd-40 --out ")


@pytest.mark.parametrize("left_out", ["bpda", "movable", "square"])
def test_a_suite_of_a_white_box_is_not_whole_without_every_attack_it_admits(left_out, tmp_path):
    one = card("mnist-3v5/1")
    one["attacks"] = [attack for attack in one["attacks"] if attack["name"] != left_out]
    write_cards(tmp_path / "cards", {"mnist-3v5": one, "cnn": {**one, "kind": "baseline", "title": "cnn"}})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    goals = section(report, "Goals, set before the work")
    assert "| mnist-3v5 | worst attack, 0.3 | ≥ 92.00% | 92.11% | not under all attacks |" in goals
    models = section(report, "All networks")
    assert row(models, "mnist-3v5")[3] == "92.11% (7 attacks)"
    # Movable pixels need a white box, BPDA a surrogate: a plain baseline has neither.
    assert row(models, "cnn")[3] == ("92.11% (7 attacks)" if left_out == "square" else "92.11%")


def test_a_card_of_four_classes_or_more_needs_targeted_apgd():
    ten = card("mnist-10/1", labels=list(range(10)))
    assert not ran_whole_suite(ten)
    ten["attacks"].append(attack("apgd-t", 0.9))
    assert ran_whole_suite(ten)


def test_a_card_that_says_whether_its_suite_was_whole_is_believed():
    assert not ran_whole_suite(card("mnist-3v5/1", whole_suite=False))
    assert ran_whole_suite(card("paper-without-two-step-0", "ablation", attacks=[], whole_suite=True))


def test_a_proof_at_a_radius_counts_at_every_smaller_one():
    one = card("mnist-3v5/1", proved=0.1025)  # intervals: 60.25% at 0.1, 40.25% at 0.2, 10.25% at 0.3
    one["certified"].append({"epsilon": 0.3, "bound": "exact", "certified_accuracy": 0.5})
    one["accuracy_by_epsilon"] = [{"attack": "certified", "points": curve(0.99, -3.0), "count": 1902}]
    assert [certified(one, radius) for radius in (0.1, 0.2, 0.3, 0.35)] == [0.69, 0.5, 0.5, 0.0]
    shares = {point["epsilon"]: point["accuracy"] for point in certified_curve(one)}
    assert (shares[0.1], shares[0.15], shares[0.25], shares[0.3]) == (pytest.approx(0.69), 0.54, 0.5, 0.5)


def test_the_exact_stage_stands_beside_the_intervals(tmp_path):
    exact = {"epsilon": 0.3, "bound": "exact", "certified_accuracy": 0.9206, "milliseconds_an_image": 105.8}
    one = card("mnist-3v5/1", trust_certificates=True)
    one["certified"].append(exact)
    write_cards(tmp_path / "cards", {"mnist-3v5": one})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    proved = row(section(report, "Proved beside attacked"), "mnist-3v5")
    assert proved[1:] == ["92.11%", "10.25%", "2.7", "92.06%", "105.8", "0.05%"]
    assert row(section(report, "All networks"), "mnist-3v5")[-1] == "92.06%"
    commands = row(section(report, "How it was measured"), "`mnist-3v5`")[-1]
    assert "whitebox evaluate artifacts/mnist-3v5/1 --trust-certificates" in commands
    assert "whitebox certify artifacts/mnist-3v5/1 --epsilon 0.3 --exact 60" in commands


def test_the_exact_stages_limit_is_in_its_command(tmp_path):
    one = card("mnist-3v5/1")
    exact = {"bound": "exact", "certified_accuracy": 0.92, "milliseconds_an_image": 105.8}
    one["certified"] += [{**exact, "epsilon": 0.2, "seconds_a_digit": 5.0}, {**exact, "epsilon": 0.3}]
    write_cards(tmp_path / "cards", {"mnist-3v5": one})
    report = make_report(tmp_path / "cards", tmp_path / "RESULTS.md")
    commands = row(section(report, "How it was measured"), "`mnist-3v5`")[-1]
    assert "whitebox certify artifacts/mnist-3v5/1 --epsilon 0.2 --exact 5 --out" in commands
    assert "whitebox certify artifacts/mnist-3v5/1 --epsilon 0.3 --exact 60 --out" in commands


def test_no_published_proof_is_worth_less_at_a_smaller_radius():
    cards = read_cards(ROOT / "docs" / "results" / "cards")
    table = section_of(PUBLISHED.read_text(), "All networks")
    for name, one in cards.of_kind("whitebox").items():
        shown = [float(cell.rstrip("%")) for cell in row(table, name)[-3:]]
        assert shown == sorted(shown, reverse=True), name
        accuracies = [point["accuracy"] for point in certified_curve(one)]
        assert accuracies == sorted(accuracies, reverse=True), name
        assert len(accuracies) >= 3
