"""Cards whose numbers are the test's own, and how a page that was made of them is read."""

import json
import re
from pathlib import Path

from evaluation.report.cards import EXPECTED
from evaluation.report.document import Report
from training.recipes import PAPER


def card(name, kind="whitebox", clean=0.9953, robust=0.9211, proved=0.1025, **more):
    """A card in the form of `whitebox evaluate`; the numbers are the test's."""
    shares = {0.0: clean, 0.1: proved + 0.5, 0.2: proved + 0.3, 0.3: proved, 0.4: 0.0}
    certificates = [{"epsilon": epsilon, "accuracy": share} for epsilon, share in shares.items()]
    return {
        "model": name,
        "kind": kind,
        "title": name,
        "num_parameters": 4810,
        "labels": [3, 5],
        "recipe": "paper",
        "seed": 0,
        "code": {"torch": "2.13.0"},
        "machine": {"cpus": 2},
        "data": {"source": "MNIST, test", "count": 1902, "sha256": "1c62e37cc8e042a9"},
        "clean": {"accuracy": clean, "correct": round(1902 * clean)},
        "attacks": [
            attack("pgd-40", robust + 0.004, steps=40, step_size=0.1),
            *(attack(name, robust + 0.002) for name in ("pgd-100x10", "apgd-ce", "fab-t", "bpda", "movable")),
            attack("square", robust + 0.01, steps=5000) | {"count": 500},
            {"name": "boundary", "settings": {}, "count": 50, "median_l2": 2.345, "median_linf": 0.512},
        ],
        "worst_case": {"epsilon": 0.3, "robust_accuracy": robust, "withstood": round(1902 * robust)},
        "certified": [
            {"epsilon": e, "bound": "interval", "certified_accuracy": share, "milliseconds_an_image": 2.7}
            for e, share in ((0.1, proved + 0.5), (0.2, proved + 0.3), (0.3, proved))
        ],
        "accuracy_by_epsilon": [
            {"attack": "pgd-40", "points": curve(clean, -0.2), "count": 300},
            {"attack": "certified", "points": certificates, "count": 1902},
        ],
        "checks": [{"name": "unbounded epsilon reaches 0%", "passed": True, "detail": "0 of 300"}],
        "reliability": {
            "attack": "pgd-40",
            "precision_at_80_recall": 0.9791,
            "points": [
                {"recall": n / 50, "precision": 1 - 0.001 * n, "confidence": 1 - n / 100}
                for n in range(1, 51)
            ],
        },
        "corruptions": {
            "count": 1000,
            "clean": clean,
            "mnist_c_mean": 0.8421,
            "rows": [{"name": "fog", "accuracy": 0.5}, {"name": "shift_2", "accuracy": 0.9135}],
        },
        "other_norms": {
            "count": 100,
            "rows": [{"norm": "l2", "median": 2.8604}, {"norm": "l0", "median": 18.0}],
        },
        "seconds": 1234.5,
        "processes": 2,
        **more,
    }


def attack(name, robust, **settings):
    return {
        "name": name,
        "settings": {"norm": "linf", "epsilon": 0.3, **settings},
        "count": 1902,
        "robust_accuracy": robust,
        "withstood": round(1902 * robust),
        "seconds": 9.0,
    }


def curve(clean, slope):
    return [{"epsilon": n / 20, "accuracy": max(0.0, clean + slope * n / 20)} for n in range(11)]


def epochs(loss):
    return [
        {"epoch": n, "loss": loss / n, "training_accuracy": 1 - 0.1 / n, "validation_accuracy": 1 - 0.05 / n}
        for n in range(1, 16)
    ]


def all_cards():
    """A card for everything that the report expects; a baseline fails a check."""
    baselines = dict.fromkeys(("logistic", "cnn", "cnn-thresholded", "cnn-adversarial"), "baseline")
    cards = {}
    for place, one in enumerate(EXPECTED):
        kind = baselines.get(one.name, "ablation" if one.name.startswith("paper-") else "whitebox")
        cards[one.name] = card(one.name, kind, clean=0.99 + place / 10_000)
        if kind != "whitebox":
            del cards[one.name]["certified"]
            cards[one.name]["accuracy_by_epsilon"].pop()
    failed = {"name": "more steps never help", "passed": False, "detail": "91.0% after 40, 93.0% after 100"}
    cards["cnn-thresholded"]["checks"].append(failed)
    listed = {"name": "mnist-3v5", "eps": "0.3", "clean_acc": "99.00", "additional_data": False}
    cards["mnist-3v5"]["robustbench"] = listed
    return cards


def write_cards(directory: Path, cards, insides=None):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in cards.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    for name, content in (insides or {}).items():
        (directory / f"{name}.inside.json").write_text(json.dumps(content))
    for name in ("mnist-3v5-seed-0", "mnist-3v5-seed-1", "cnn"):
        lines = [json.dumps(line) for line in epochs(len(name) / 10)]
        (directory / f"{name}.metrics.jsonl").write_text("\n".join(lines) + "\n")
    network = {**PAPER.network.to_dict(), "learnable_numbers": 4810}
    trial = {
        "name": "t1",
        "network": network,
        "changes": {"epsilon": 0.305, "k": 0.9},
        "seconds": 600,
        "validation": {"clean": 0.991, "certified_0.3": 0.934},
        "note": "t1 at its clamp",
    }
    other = {"epsilon": 0.305, "k": 1.0, "epochs": 60}
    trials = [trial, {**trial, "name": "t2", "changes": other, "validation": {"clean": 0.988}}]
    (directory.parent / "certified-training-log.json").write_text(json.dumps(trials))


def section(report: Report, title: str) -> str:
    return section_of(report.text, title)


def section_of(page: str, title: str) -> str:
    return re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", page, re.M | re.S)[1]


def row(text: str, first: str) -> list[str]:
    """Cells of the row of a table that begins with `first`, perhaps with a remark behind it."""
    line = next(line for line in text.splitlines() if line.startswith((f"| {first} |", f"| {first} (")))
    return [cell.strip() for cell in line.strip("|").split("|")]
