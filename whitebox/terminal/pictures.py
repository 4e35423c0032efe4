"""The answers of the service, and of a model here, as pictures for a terminal; the words come first."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.explanation_figure import addends_of, best_two, explanation_sentence
from service.api.schemas.responses import AttackOutcome, CertifyOutcome, Explanation, Map, Prediction
from whitebox.terminal.bars import Claims, Shares
from whitebox.terminal.pixels import Pixels, Row

Array = NDArray[np.floating]


class Told(NamedTuple):
    """An answer in a terminal.

    Attributes:
        lines: In words.
        picture: To be shown below.
    """

    lines: list[str]
    picture: RenderableType


def in_words(prediction: Prediction) -> str:
    """Returns an answer and how sure it is."""
    return f"{prediction.label} with confidence {prediction.confidence:.4f}"


def prediction_picture(prediction: Prediction) -> Told:
    """Draws a prediction with its `image`: what the network saw beside the probability of each label."""
    saw = Pixels("what the network saw", _array(prediction.image))
    shares = Shares(prediction.probabilities, str(prediction.label))
    bars = Group(Text("probability", style="dim"), shares)
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(saw, bars)
    return Told(_said(prediction), row)


def explanation_picture(explanation: Explanation) -> Told:
    """Draws an explanation with `image`, `two_step` and `claims`."""
    assert explanation.claims is not None
    labels = list(explanation.claims)
    contributions = np.array([claim.contributions for claim in explanation.claims.values()])
    logits = np.array([explanation.logits[label] for label in labels])
    maps = Row(
        [
            Pixels("what the network saw", _array(explanation.image)),
            Pixels("two-step map", (_array(explanation.two_step) + 1) / 2),
        ]
    )
    best = best_two(logits)
    per_class = contributions.shape[1] // len(labels)
    lists = [addends_of(contributions[index], labels, per_class) for index in best]
    largest = max((abs(each.value) for addends in lists for each in addends), default=1.0)
    claims = [Claims(labels[index], addends, largest) for index, addends in zip(best, lists, strict=True)]
    sentence = explanation_sentence({"contributions": contributions, "logits": logits}, labels)
    return Told(_said(explanation, sentence), Group(maps, "", claims[0], "", claims[1]))


def attack_picture(outcome: AttackOutcome, seen: Array) -> Told:
    """Draws what an attack on an image (H, W) came to: both images, their difference, and both answers."""
    distance = ", ".join(f"{norm} {value:.4g}" for norm, value in outcome.distance.model_dump().items())
    result = "success" if outcome.success else "no adversarial image found"
    lines = [
        f"original:    {in_words(outcome.original)}{_untypical(outcome.original)}",
        f"adversarial: {in_words(outcome.adversarial)}{_untypical(outcome.adversarial)}",
        f"{result} after {outcome.queries:,} queries; distance: {distance}",
    ]
    return Told(lines, _changed(seen, outcome.original, outcome.image, outcome.adversarial))


def certificate_picture(outcome: CertifyOutcome, seen: Array, epsilon: float) -> Told:
    """Draws a certificate of an image (H, W): verdict, what it proves, counterexample if there is one."""
    found = outcome.counterexample
    lines = [*_verdict(outcome, epsilon), *_typicality(outcome.prediction), *_stays(outcome, epsilon)]
    if found is None or found.distance.linf == 0:
        return Told(lines, Pixels("what the network saw", seen))
    return Told(lines, _changed(seen, outcome.prediction, found.image, found.prediction))


def _verdict(outcome: CertifyOutcome, epsilon: float) -> Iterator[str]:
    label, within = outcome.label, f"within {epsilon:g}"
    if outcome.verdict == "certified":
        yield f"certified: {label} stays {label} {within}"
        yield (
            f"Proved: however each pixel changes by up to {epsilon:g}, the logit of {label} leads every "
            f"other by at least {outcome.margin_lower_bound:.4f}."
        )
    elif (found := outcome.counterexample) is not None and found.distance.linf > 0:
        yield f"falsified: {label} becomes {found.prediction.label} {within}"
        yield f"Shown by an image at an L-inf distance of {found.distance.linf:.4g}."
    elif outcome.verdict == "falsified":
        yield f"falsified: the image itself is taken for {outcome.prediction.label}, not {label}"
    else:
        yield f"{outcome.verdict}: whether {label} stays {label} {within} was neither proved nor disproved"
        yield "The bounds are too loose here, and no attack that was tried found a counterexample."
    if outcome.certified_radius:
        yield f"Proved up to a radius of {outcome.certified_radius:.3f}."
    yield "A proof says that the answer cannot change, not that it is true."


def _stays(outcome: CertifyOutcome, epsilon: float) -> Iterator[str]:
    if outcome.typical_within_epsilon == "always":
        yield f"Proved: every image within {epsilon:g} looks like what the model was trained on."
    elif outcome.typical_within_epsilon == "never":
        yield f"Proved: no image within {epsilon:g} looks like what the model was trained on."


def _said(prediction: Prediction, sentence: str | None = None) -> list[str]:
    lines = [in_words(prediction), *([sentence] if sentence else []), *_typicality(prediction)]
    if prediction.preprocessed:
        lines.append(f"Brought into the network's form: {', '.join(prediction.preprocessed)}.")
    return lines


def _typicality(prediction: Prediction) -> list[str]:
    if (found := prediction.typicality) is None:
        return []
    like = "like what" if found.typical else "like nothing that"
    return [f"The image looks {like} the model was trained on (p-value {found.p_value:.4f})."]


def _untypical(prediction: Prediction) -> str:
    if prediction.typicality is None or prediction.typicality.typical:
        return ""
    p_value = prediction.typicality.p_value
    return f", but looks like nothing that the model was trained on (p-value {p_value:.4f})"


def _changed(original: Array, before: Prediction, image: Map, after: Prediction) -> RenderableType:
    found = _array(image)
    maps = [
        Pixels(f"original: {before.label}", original),
        Pixels(f"adversarial: {after.label}", found),
        Pixels("difference", found - original, signed=True),
    ]
    return Group(Row(maps), Text("In the difference blue (+) is lighter, orange (-) darker."))


def _array(values: Map | str | None) -> Array:
    return np.array(values, np.float64)
