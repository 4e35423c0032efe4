"""What is measured, as plain data: attacks and certificates, each on all images or on some."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from model.attacks.catalogue import ATTACKS
from model.attacks.registry import autoattack_members
from model.attacks.settings import AttackSettings
from training.errors import TrainingError

CURVE_ATTACKS = ("pgd-40", "apgd-ce")
CURVE_SAMPLE = 300
BOUNDARY_SAMPLE = 2000  # 0.4 to 0.8 s an image

QUICK = ("fgsm", "pgd-40", "apgd-ce")
AUTO = "auto"

# A certificate may stand in for these; the others are cheap and run on every image as a cross-check.
EXPENSIVE = frozenset({"pgd-100x10", "apgd-t", "fab-t", "square", "bpda", "movable"})
BLACK_BOX = frozenset({"square", "boundary"})


Role = Literal["row", "curve", "unbounded"]


@dataclass(frozen=True)
class Attack:
    """One attack of a suite.

    Attributes:
        name: In cards, and after `--attack`.
        settings: Everything that the registry needs to know.
        sample_size: On how many images, spread evenly; None for all.
        role: A row of the card, a point of a curve of accuracy against epsilon, or the check that
            an unbounded attack always succeeds.
    """

    name: str
    settings: AttackSettings
    sample_size: int | None = None
    role: Role = "row"

    @property
    def kind(self) -> str:
        """The name without the epsilon of a curve's point."""
        return self.name.partition("@")[0]


@dataclass(frozen=True)
class Certificate:
    """Counting the images that a certificate protects within epsilon."""

    epsilon: float
    sample_size: None = None

    @property
    def name(self) -> str:
        """Names it among parts and in messages."""
        return f"certificate-{self.epsilon:g}"


SuiteEntry = Attack | Certificate


@dataclass(frozen=True)
class Suite:
    """Everything that one evaluation measures beside clean accuracy, and where it looks.

    Attributes:
        epsilon: Radius of the L-inf ball.
        classes: Of the network.
        entries: The attacks and certificates.
        trust_certificates: Whether certified images are spared the expensive attacks.
        whole: Whether every attack that the network admits is among the entries.
    """

    epsilon: float
    classes: int
    entries: tuple[SuiteEntry, ...]
    trust_certificates: bool = False
    whole: bool = True

    def only(self, names: Sequence[str]) -> "Suite":
        """Returns the suite with the attacks of these names only; `auto` stands for its members.

        Raises:
            TrainingError: There is no such attack, or not for this network.
        """
        known = {entry.name: entry for entry in self.entries if is_row(entry)}
        wanted = [m for name in names for m in (auto_members(self.classes) if name == AUTO else (name,))]
        for name in wanted:
            if name not in known:
                whether = "There is no attack" if name not in rows(self.epsilon) else "This network rules out"
                raise TrainingError(f"{whether} {name!r}. Attacks: {', '.join([*known, AUTO])}.")
        kept = tuple(known[name] for name in dict.fromkeys(wanted))
        return replace(self, entries=kept, whole=self.whole and len(kept) == len(known))


def rows(epsilon: float) -> dict[str, Attack]:
    """Returns every attack that can be a row of a card, by name."""

    def row(name: str, attack: str, sample_size: int | None = None, **settings: Any) -> Attack:  # noqa: ANN401
        return Attack(name, AttackSettings(attack, "linf", epsilon, **settings), sample_size)

    attacks = [
        row("fgsm", "fgsm"),
        row("pgd-40", "pgd"),
        row("pgd-100x10", "pgd", steps=100, restarts=10, step_size=round(epsilon / 10, 6)),
        row("apgd-ce", "apgd"),
        row("apgd-t", "apgd-t"),
        row("fab-t", "fab"),
        row("square", "square"),
        row("bpda", "bpda", restarts=2),
        row("movable", "movable", restarts=2),
        row("boundary", "boundary", BOUNDARY_SAMPLE),
        *(row(name, name) for name in ATTACKS.added()),
    ]
    return {attack.name: attack for attack in attacks}


def auto_members(classes: int) -> tuple[str, ...]:
    """Returns the names of the rows that make up AutoAttack for so many classes."""
    members = autoattack_members(classes)
    return tuple(name for name, row in rows(1.0).items() if row.settings.attack in members)


def full_suite(epsilon: float, classes: int, white_box: bool, smooth: bool) -> Suite:
    """Returns everything that can be measured.

    Args:
        epsilon: Radius of the L-inf ball.
        classes: Of the network.
        white_box: Whether certificates and attacks can look inside.
        smooth: Whether there is a surrogate with smooth gradients.
    """
    possible = rows(epsilon)
    inside = {name for name, row in possible.items() if ATTACKS[row.settings.attack].white_box_only}
    left_out = set() if white_box else inside
    left_out |= set() if smooth else {"bpda"}
    left_out |= {"apgd-t"} - set(autoattack_members(classes))
    attacks = [attack for name, attack in possible.items() if name not in left_out]
    certified = sorted({0.0, epsilon, *certified_epsilons(epsilon), *curve_epsilons(epsilon)})
    certificates = [Certificate(e) for e in certified] if white_box else []
    return Suite(epsilon, classes, (*certificates, *attacks, *_curves(epsilon), *_unbounded()))


def certified_epsilons(epsilon: float) -> tuple[float, ...]:
    """Returns the radii at which certificates are counted: a third, two thirds, and the whole."""
    return tuple(round(epsilon * thirds / 3, 4) for thirds in (1, 2, 3))


def curve_epsilons(epsilon: float) -> list[float]:
    """Returns the radii of curves of accuracy: sixths of one, up to ten of them but below 1."""
    return sorted({radius for sixths in range(1, 11) if (radius := round(epsilon * sixths / 6, 4)) < 1})


def is_row(entry: SuiteEntry) -> bool:
    """Tells whether this is an attack that makes a row of the card."""
    return isinstance(entry, Attack) and entry.role == "row"


def _curves(epsilon: float) -> list[Attack]:
    return [
        Attack(f"{name}@{radius:g}", rows(radius)[name].settings, CURVE_SAMPLE, "curve")
        for name in CURVE_ATTACKS
        for radius in curve_epsilons(epsilon)
    ]


def _unbounded() -> list[Attack]:
    return [
        Attack(f"{name}@1", rows(1.0)[name].settings, CURVE_SAMPLE, "unbounded") for name in CURVE_ATTACKS
    ]


# Milliseconds that one step takes for one image, roughly, so that progress can tell the time left.
_STEP_COST = {"fab": 0.5, "square": 0.06, "boundary": 0.1, "bpda": 0.6, "movable": 1.0}
_CERTIFICATE_COST = 3.0


def cost(entry: SuiteEntry) -> float:
    """Returns roughly how many milliseconds one image takes."""
    if isinstance(entry, Certificate):
        return _CERTIFICATE_COST
    settings = entry.settings
    return _STEP_COST.get(settings.attack, 0.3) * settings.effective_steps * settings.restarts
