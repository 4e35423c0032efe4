"""Does any attack break a certificate? Every attack of the catalogue, on digits that are certified.

    WHITEBOX_DATA_DIR=... python -m benchmarks.certificates

A case is a digit of MNIST's test set, an epsilon at which it is certified, and an attack. Certificates are
those of interval bounds, at fixed epsilons and at each digit's own certified radius, and those that linear
bounds or HiGHS give where intervals prove nothing (model/verification/verify.py). What an attack
answers is brought into the ball, which is checked, and then judged by torch and by the shipped graph on
onnxruntime: a certificate is broken unless the true class is strictly ahead on both. The settings are light,
so that all of it ends in minutes; `whitebox evaluate` runs the attacks with all their might. As a control,
the same attacks run, with the same settings, at an epsilon that nothing withstands: what they turn there
tells which of them bite.
"""

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from benchmarks.certified_digits import (
    DIGITS,
    EPSILONS,
    LATER_DIGITS,
    LATER_EPSILONS,
    LATER_SECONDS,
    Certificates,
    Subject,
    at_certified_radii,
    at_fixed_epsilons,
    by_later_stages,
)
from benchmarks.measuring import ROOT, save, show
from model.attacks import catalogue, registry
from model.attacks.ball import Ball
from model.attacks.registry import autoattack_members
from model.attacks.settings import AttackSettings
from model.attacks.unsaturated import Unsaturated
from model.package_directory import newest_package

MODELS = tuple(
    f"{name}/{newest_package(ROOT / 'artifacts', name).version}"
    for name in ("mnist-3v5", "mnist-3v5-certified", "mnist-10-certified")
)
# Nothing withstands this: a grey image lies in every ball.
CONTROL_EPSILON = 0.6

# Each case sets its own epsilon.
ATTACKS = (
    AttackSettings("fgsm", "linf", CONTROL_EPSILON),
    AttackSettings("pgd", "linf", CONTROL_EPSILON, steps=20),
    AttackSettings("apgd", "linf", CONTROL_EPSILON, steps=20),
    AttackSettings("apgd-t", "linf", CONTROL_EPSILON, steps=10),
    AttackSettings("fab", "linf", CONTROL_EPSILON, steps=10),
    AttackSettings("square", "linf", CONTROL_EPSILON, steps=200),
    AttackSettings("bpda", "linf", CONTROL_EPSILON, steps=10, restarts=2),
    AttackSettings("movable", "linf", CONTROL_EPSILON, steps=10),
    AttackSettings("deepfool", "linf", CONTROL_EPSILON, steps=20),
    AttackSettings("boundary", "linf", CONTROL_EPSILON, steps=100),
    AttackSettings("hopskipjump", "linf", CONTROL_EPSILON, steps=2),
    AttackSettings("auto", "linf", CONTROL_EPSILON, steps=10),
)
# `auto` asks Square for its 5,000 queries: it runs on every so many-th digit of those with one epsilon.
EVERY = {"auto": 20}
BY_GRADIENT = frozenset({"fgsm", "pgd", "apgd", "apgd-t", "fab", "deepfool", "auto"})
BY_DECISION = frozenset({"square", "boundary", "hopskipjump"})


@dataclass
class Tally:
    """How the cases of one model, kind of certificate and attack came out."""

    cases: int = 0
    broken: int = 0
    outside: int = 0
    seconds: float = 0.0


def attack(certificates: Certificates, settings: AttackSettings, tally: Tally) -> None:
    """Attacks all the digits and counts what became of them."""
    subject, rows = certificates.subject, certificates.rows
    if not len(rows):
        return
    started = time.process_time()
    images, classes = subject.pool.images[rows], subject.pool.classes[rows]
    settings = replace(settings, epsilon=certificates.epsilon)
    network = subject.on_onnxruntime if settings.attack in BY_DECISION else subject.target.network
    if settings.attack in BY_GRADIENT:
        network = Unsaturated(network, images, classes)
    target = registry.Target(network, images, classes, subject.starts, subject.target.white_box)
    found = registry.run(target, settings)
    balls = [Ball(image[None], settings.epsilon, "linf") for image in images]
    inside = torch.cat([ball.project(other[None]) for ball, other in zip(balls, found, strict=True)])
    tally.cases += len(rows)
    tally.broken += int((~subject.is_correct(inside, classes)).sum())
    tally.outside += _outside(balls, inside, exactly=True)
    if not catalogue.ATTACKS[settings.attack].minimum_norm:
        tally.outside += _outside(balls, found, exactly=False)
    tally.seconds += time.process_time() - started


def _outside(balls: list[Ball], images: Tensor, exactly: bool) -> int:
    """Counts images that have left ball or box; what an attack itself answers may do so by rounding."""

    def contains(ball: Ball, image: Tensor) -> bool:
        within = ball.radius_of(image) <= ball.epsilon and bool(((image >= 0) & (image <= 1)).all())
        return within if exactly else ball.nearly_contains(image)

    return sum(not contains(ball, image[None]) for ball, image in zip(balls, images, strict=True))


Key = tuple[str, str, str]
"""Model, kind of certificate, attack."""
Tallies = dict[Key, Tally]


def run(model: str, tallies: Tallies, control: Tallies, progress: Progress) -> None:
    """Attacks all certificates of one model, and as many digits without one."""
    subject = Subject.load(model)
    task = progress.add_task(f"{model}: certifying", total=None)
    groups = [*at_fixed_epsilons(subject), *at_certified_radii(subject), *by_later_stages(subject)]
    classes = len(subject.target.labels)
    usable = [one for one in ATTACKS if one.attack != "apgd-t" or "apgd-t" in autoattack_members(classes)]
    progress.update(task, description=model, total=len(groups) * len(usable))
    unprotected = subject.chosen[subject.right[subject.chosen]]
    uncertified = Certificates(subject, "none", CONTROL_EPSILON, unprotected)
    for settings in usable:
        step = EVERY.get(settings.attack, 1)
        for certificates in groups:
            tally = tallies.setdefault((model, certificates.kind, settings.attack), Tally())
            attack(certificates.every(step), settings, tally)
            progress.advance(task)
        attack(
            uncertified.every(step), settings, control.setdefault((model, "none", settings.attack), Tally())
        )
        done = total(tallies, model=model, attack=settings.attack)
        progress.console.print(f"{model}: {settings.attack}, {done.cases} cases, {done.seconds} s")


def total(tallies: Tallies, **chosen: str) -> Tally:
    """Adds up the tallies of a model, kind or attack."""
    names = ("model", "certificate", "attack")
    added: Counter[str] = Counter()
    for key, tally in tallies.items():
        if chosen.items() <= dict(zip(names, key, strict=True)).items():
            added.update(vars(tally))
    return Tally(added["cases"], added["broken"], added["outside"], round(added["seconds"], 1))


def tables(tallies: Tallies, control: Tallies) -> None:
    """Prints cases and broken certificates by attack and by kind of certificate, for each model."""

    def cells(of: Tallies, **chosen: str) -> list[str]:
        sums = [total(of, model=model, **chosen) for model in MODELS] + [total(of, **chosen)]
        return [f"{one.cases} / {one.broken} / {one.outside}" for one in sums]

    columns = [*MODELS, "all"]
    names = {one.attack: f"{one.attack}, {one.effective_steps} x {one.restarts}" for one in ATTACKS}
    by_attack = [[name, *cells(tallies, attack=one)] for one, name in names.items()]
    title = "Cases / broken certificates / images outside the ball"
    show(title, ["attack, steps x restarts", *columns], [*by_attack, ["all", *cells(tallies)]])
    kinds = list(dict.fromkeys(kind for _, kind, _ in tallies))
    show(title, ["certificate", *columns], [[kind, *cells(tallies, certificate=kind)] for kind in kinds])
    title = f"Control, no certificate, epsilon {CONTROL_EPSILON}: digits / turned / images outside the ball"
    show(title, ["attack", *columns], [[one, *cells(control, attack=one)] for one in names])


def plain(tallies: Tallies) -> list[dict[str, Any]]:
    """Returns the tallies as JSON values."""
    return [
        {
            "model": model,
            "certificate": kind,
            "attack": name,
            **vars(tally),
            "seconds": round(tally.seconds, 1),
        }
        for (model, kind, name), tally in tallies.items()
    ]


def main() -> None:
    torch.set_num_threads(1)
    tallies: Tallies = {}
    control: Tallies = {}
    with Progress() as progress:
        for model in MODELS:
            run(model, tallies, control, progress)
    tables(tallies, control)
    whole = total(tallies)
    results = {
        "total": vars(whole),
        "digits": DIGITS,
        "epsilons": EPSILONS,
        "later_stages": {"epsilons": LATER_EPSILONS, "digits": LATER_DIGITS, "seconds": LATER_SECONDS},
        "attacks": [_settings(one) for one in ATTACKS],
        "tallies": plain(tallies),
        "control": {"epsilon": CONTROL_EPSILON, "tallies": plain(control)},
    }
    save("certificates", results)
    if whole.broken or whole.outside:
        raise SystemExit(f"{whole.broken} certificates are broken, {whole.outside} images are outside.")


def _settings(settings: AttackSettings) -> dict[str, Any]:
    """Returns what all cases of an attack share; a step size of PGD's is a third of epsilon."""
    chosen = {k: v for k, v in settings.to_dict().items() if k not in ("epsilon", "step_size")}
    return {**chosen, "every": EVERY.get(settings.attack, 1)}


if __name__ == "__main__":
    main()
