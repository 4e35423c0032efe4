"""Small evaluations: few images, few steps, and cards without what depends on the clock."""

import json

import torch

from evaluation.harness.suite import Attack, Suite


def few(digits, count):
    """Some digits of both classes: the sample is ordered by class."""
    chosen = torch.linspace(0, len(digits) - 1, count).long()
    return type(digits)(
        digits.images[chosen], digits.classes[chosen], digits.labels, f"{count} digits", f"{count}"
    )


def without_times(card):
    """What two evaluations of one network must have in common."""
    kept = {name: value for name, value in card.items() if name not in ("seconds", "processes")}
    kept["attacks"] = [{**attack, "seconds": 0} for attack in card["attacks"]]
    kept["certified"] = [{**one, "milliseconds_an_image": 0} for one in card.get("certified", [])]
    return json.loads(json.dumps(kept))


def tiny(suite: Suite, **steps) -> Suite:
    """The same suite with few steps, few points and few digits."""
    kept = []
    for entry in suite.entries:
        if isinstance(entry, Attack):
            if entry.role == "curve" and entry.settings.epsilon not in (0.1, 0.3):
                continue
            count = steps.get(entry.kind, min(entry.settings.effective_steps, 5))
            settings = type(entry.settings)(**{**vars(entry.settings), "steps": count})
            kept.append(Attack(entry.name, settings, entry.sample_size, entry.role))
        else:
            kept.append(entry)
    return Suite(suite.epsilon, suite.classes, tuple(kept), suite.trust_certificates)
