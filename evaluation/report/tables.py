"""The sections of tables: what was measured of every network, and how."""

from collections.abc import Mapping, Sequence

from evaluation.harness.suite import certified_epsilons
from evaluation.report.cards import (
    ABLATIONS,
    BASELINES,
    SEEDS,
    SHIPPED,
    Card,
    Cards,
    Expected,
    attack_of,
    attacks_run,
    by_radius,
    certified,
    has_masked_gradients,
    is_partial,
    ran_whole_suite,
    worst_case,
)
from evaluation.report.page import NOTHING, Section, left_out, percent, plain, table
from evaluation.report.training_tables import seed_table, training_log_table

# Attacks in the order of a table, with what a reader may want to know of each; others follow.
ATTACKS = {
    "fgsm": "one step along the gradient's sign (Goodfellow 2015)",
    "pgd-40": "projected gradient descent from one random start, the paper's protocol (Madry 2018)",
    "pgd-100x10": "the same, longer, from ten starts",
    "apgd-ce": "steps with momentum that shorten when progress stalls, on cross-entropy (Croce & Hein 2020)",
    "apgd-t": "the same on the targeted DLR loss; needs four classes",
    "fab-t": "minimum-norm attack towards each other class (Croce & Hein 2020)",
    "square": "random search with squares, no gradients (Andriushchenko 2020)",
    "boundary": "a random walk to the smallest L2 change, decisions only (Brendel 2018)",
    "auto": "AutoAttack; with two classes APGD-CE, FAB-T and Square: an image has to withstand all",
    "bpda": "gradients through a smooth surrogate of the network (Athalye 2018)",
    "movable": "ours: greedy, moves only the pixels whose two-step value can change",
}
# Of the corruptions beside MNIST-C's, those that a table of all networks has room for.
_SPOILT = {
    "salt_and_pepper_10": "salt and pepper, 10%",
    "gaussian_blur_1.5": "blur, sigma 1.5",
    "shift_2": "shifted by 2",
    "rotate_20": "turned by 20°",
}
_KINDS = (("whitebox", SHIPPED), ("baseline", BASELINES), ("ablation", ABLATIONS))


def models(cards: Cards) -> Section:
    """All networks: accuracy, the worst case over all attacks, what is proved, size."""
    parts: list[str] = []
    compared = _compared(cards)
    for radius, group in by_radius(compared).items() if compared else ():
        radii = certified_epsilons(radius)
        head = ["network", "parameters", "clean", f"worst attack, {radius:g}"]
        rows = [_model_row(cards, name, card, radii) for name, card in group.items()]
        parts.append(table([*head, *(f"proved, {each:g}" for each in radii)], rows))
    if parts:
        parts.insert(
            0,
            "Accuracy on test images. *Worst attack*: an image counts if it is classified right and "
            "withstands every attack below in the L-inf ball of that radius; in brackets, where only some of "
            "them were run. *Proved*: no attack within that radius can succeed, by the best bound taken; a "
            "proof at a radius counts at every smaller one too. *Gradients masked*: attacks along gradients "
            "are led astray ([how that is told](#are-gradients-masked)), others would leave less.",
        )
    return Section("All networks", [*parts, *_missing(cards, [e for _, group in _KINDS for e in group])])


def attacks(cards: Cards) -> Section:
    """All networks under each attack."""
    shown = {name: card for name, card in _compared(cards).items() if card.get("attacks")}
    names = _attack_names(list(shown.values()))
    parts: list[str] = []
    for radius, group in by_radius(shown).items() if names else ():
        rows = [
            [_marked_title(cards, name), *(_with_count(card, attack) for attack in names), worst(card)]
            for name, card in group.items()
        ]
        parts += [
            f"Accuracy under each attack alone, L-inf {radius:g}. A number in brackets says on how many "
            "images, where it was not on all.",
            table(["network", *names, "all of them"], rows),
        ]
    if names:
        parts.append("\n".join(_settings(name, list(shown.values())) for name in names))
    parts += [*_spared(cards, shown), *_boundary(cards, shown)]
    return Section("Attack by attack", parts or [no_cards(cards)])


def seeds(cards: Cards) -> Section:
    """Every group of seeds: each, the mean and the spread."""
    parts: list[str] = []
    for group, by_seed in cards.seeds().items():
        recipe = next(iter(by_seed.values())).get("recipe", group)
        parts += [f"Recipe `{recipe}`; nothing but the seed differs:", seed_table(by_seed)]
    if parts:
        parts.append("The command of each row stands [at the end](#how-it-was-measured).")
    return Section("Several seeds", [*parts, *_missing(cards, SEEDS)])


def beyond_ball(cards: Cards) -> Section:
    """What no radius in L-inf says anything of: corruptions, and the smallest changes in L2 and L0."""
    shown = _compared(cards)
    spoilt = {name: card["corruptions"] for name, card in shown.items() if "corruptions" in card}
    moved = {name: card["other_norms"] for name, card in shown.items() if "other_norms" in card}
    parts: list[str] = []
    if spoilt:
        rows = [[_title(cards, name), f"{one['count']:,}", *_spoilt(one)] for name, one in spoilt.items()]
        parts += [
            "Accuracy on random test images as the world spoils them: unspoilt, on average over the fifteen "
            "corruptions of MNIST-C (Mu & Gilmer 2019), and under some others "
            "([all of them](evaluation.md#beyond-the-ball)).",
            table(["network", "images", "clean", "mean of MNIST-C", *_SPOILT.values()], rows),
        ]
    if moved:
        rows = [[_title(cards, name), f"{one['count']:,}", *_moved(one)] for name, one in moved.items()]
        parts += [
            "The smallest change found that turns an image, the median over random test images: in L2, and "
            "in how many pixels (L0); nothing was trained for either ([how](evaluation.md#other-norms)).",
            table(["network", "images", "median L2", "median of the fewest pixels"], rows),
        ]
    return Section("Beyond the ball", parts or [no_cards(cards)])


def checks(cards: Cards) -> Section:
    """The checks for masked gradients, every failure spelled out."""
    shown = {name: card for name, card in _compared(cards).items() if card.get("checks")}
    if not shown:
        return Section("Are gradients masked?", [no_cards(cards)])
    names = list(dict.fromkeys(check["name"] for card in shown.values() for check in card["checks"]))
    rows = [[_title(cards, name), *(_passed(card, check) for check in names)] for name, card in shown.items()]
    failures = [
        f"- {_title(cards, name)}, {check['name']}: {check['detail']}"
        for name, card in shown.items()
        for check in card["checks"]
        if not check["passed"]
    ]
    parts = [
        "A network may look robust because its gradients lead attacks astray. What then would show:",
        "\n".join(f"{place}. {name}" for place, name in enumerate(names, 1)),
        table(["network", *(str(place) for place in range(1, len(names) + 1))], rows),
    ]
    return Section(
        "Are gradients masked?", [*parts, *(["What failed:", "\n".join(failures)] if failures else [])]
    )


def training_log(cards: Cards) -> Section:
    """The trials of certified training, in the order of the log."""
    title = "The search for certified training"
    if cards.training_log is None:
        log = cards.directory.parent / "certified-training-log.json"
        return Section(title, [f"*Left out: there is no {log}; it is written by hand as trials are made.*"])
    return Section(title, training_log_table(cards.training_log))


def _compared(cards: Cards) -> dict[str, Card]:
    return {name: card for kind, _ in _KINDS for name, card in cards.of_kind(kind).items()}


def _title(cards: Cards, name: str) -> str:
    card = cards.models[name]
    words = card.get("title") or name
    title = name if words == name or card["kind"] == "whitebox" else f"{words} (`{name}`)"
    return f"{title} (**{card['data']['count']} images only**)" if is_partial(card) else title


def _marked_title(cards: Cards, name: str) -> str:
    marked = ", **gradients masked**" if has_masked_gradients(cards.models[name]) else ""
    return _title(cards, name) + marked


def _model_row(cards: Cards, name: str, card: Card, radii: Sequence[float]) -> list[str]:
    return [
        _marked_title(cards, name),
        f"{card['num_parameters']:,}",
        percent(card["clean"]["accuracy"]),
        worst(card),
        *(percent(certified(card, radius)) for radius in radii),
    ]


def worst(card: Card) -> str:
    """Returns the worst case as a cell; one over few attacks says so, since more would leave less."""
    share, count = worst_case(card), len(attacks_run(card))
    if share is None or ran_whole_suite(card):
        return percent(share)
    return f"{percent(share)} ({count} attack{'s' if count > 1 else ''})"


def _attack_names(shown: Sequence[Card]) -> list[str]:
    found = {a["name"] for card in shown for a in card["attacks"] if "robust_accuracy" in a}
    return [*(name for name in ATTACKS if name in found), *sorted(found - ATTACKS.keys())]


def _with_count(card: Card, name: str) -> str:
    attack = attack_of(card, name)
    if attack is None:
        return NOTHING
    count = attack.get("count", card["data"]["count"])
    return percent(attack["robust_accuracy"]) + ("" if count == card["data"]["count"] else f" ({count:,})")


def _settings(name: str, shown: Sequence[Card]) -> str:
    settings = next(attack["settings"] for card in shown if (attack := attack_of(card, name)))
    common = {"attack", "name", "norm", "epsilon", "seed"}
    said = [f"{key.replace('_', ' ')} {plain(value)}" for key, value in settings.items() if key not in common]
    return f"- {name}: {ATTACKS.get(name, name)}" + (f"; {', '.join(said)}" if said else "")


def _spared(cards: Cards, shown: Mapping[str, Card]) -> list[str]:
    names = [
        _title(cards, n)
        for n, card in shown.items()
        if any(a.get("certified_instead") for a in card["attacks"])
    ]
    spared = "Spared some expensive attacks on images whose certificate proves that no attack can turn them: "
    return [spared + ", ".join(names) + "."] if names else []


def _boundary(cards: Cards, shown: Mapping[str, Card]) -> list[str]:
    attacks = [(name, attack_of(card, "boundary")) for name, card in shown.items()]
    found = [(name, attack) for name, attack in attacks if attack and "median_l2" in attack]
    if not found:
        return []
    rows = [
        [_title(cards, name), f"{a['count']:,}", f"{a['median_l2']:.3f}", f"{a['median_linf']:.3f}"]
        for name, a in found
    ]
    return [
        "How far the Boundary attack (Brendel 2018), which sees decisions only, has to move an image:",
        table(["network", "images", "median L2", "median L-inf"], rows),
    ]


def _spoilt(corruptions: Card) -> list[str]:
    by_name = {row["name"]: row["accuracy"] for row in corruptions["rows"]}
    shares = [corruptions["clean"], corruptions["mnist_c_mean"], *map(by_name.get, _SPOILT)]
    return [percent(share) for share in shares]


def _moved(norms: Card) -> list[str]:
    medians = {row["norm"]: row["median"] for row in norms["rows"]}
    return [NOTHING if medians.get(norm) is None else f"{medians[norm]:.3g}" for norm in ("l2", "l0")]


def _passed(card: Card, name: str) -> str:
    passed = next((check["passed"] for check in card["checks"] if check["name"] == name), None)
    return {None: NOTHING, True: "pass", False: "**FAIL**"}[passed]


def _missing(cards: Cards, expected: Sequence[Expected]) -> list[str]:
    missing = cards.missing(expected)
    if not missing:
        return []
    names = ", ".join(f"{one.name}.json" for one in missing)
    return [left_out(f"no card {names}", [cards.command(one.name) for one in missing])]


def no_cards(cards: Cards) -> str:
    """Returns the line that stands for a section that no card has anything for."""
    name = cards.first()
    command = f"whitebox evaluate {cards.target(name)} --out {cards.directory / name}.json"
    return left_out(f"no card in {cards.directory} has it", [command])
