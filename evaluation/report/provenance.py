"""Where every number comes from: images, code, machine, and the commands that make it again."""

from evaluation.report.cards import Card, Cards
from evaluation.report.page import NOTHING, Section, plain, table
from evaluation.report.tables import no_cards
from training.data import is_of_mnist
from training.recipes import RECIPES

# The first cards do not record how long the exact stage may take for a digit; this is what is usual.
_EXACT_SECONDS = 60


def provenance(cards: Cards) -> Section:
    """Which images, code and machine each card comes from, and the command that makes it again."""
    rows = [
        [
            f"`{name}`",
            f"{card['data']['source']}, {card['data']['count']:,}",
            f"`{card['data']['sha256'][:12]}`",
            _time(card),
            _trained_by(card),
            ", then ".join(f"`{command}`" for command in _measured_by(cards, name)),
        ]
        for name, card in cards.models.items()
    ]
    if not rows:
        return Section("How it was measured", [no_cards(cards)])
    made = list(dict.fromkeys(_made_with(card) for card in cards.models.values()))
    return Section(
        "How it was measured",
        [
            table(
                ["card", "images", "SHA-256", "time", "trained by", "measured by"],
                rows,
                words=("images", "SHA-256", "trained by", "measured by"),
            ),
            "Code and machine: " + "; ".join(made) + ".",
            *_read_out_by(cards),
        ],
    )


def robustbench(cards: Cards) -> Section:
    """The networks that AutoAttack was run on, as RobustBench lists its own."""
    shown = [card["robustbench"] for card in cards.models.values() if "robustbench" in card]
    if not shown:
        return Section("In RobustBench's fields", [no_cards(cards)])
    fields = list(shown[0])
    rows = [[plain(card[field]) for field in fields] for card in shown]
    words = (
        "For [RobustBench](https://robustbench.github.io), which lists no MNIST: AutoAttack's standard set "
        "alone. The tables above count every attack."
    )
    return Section("In RobustBench's fields", [words, table(fields, rows, words=fields)])


def _measured_by(cards: Cards, name: str) -> list[str]:
    """Returns the commands: of the evaluation, and of each limit that the exact stage was given."""
    radii: dict[float, list[float]] = {}
    for one in cards.models[name].get("certified", []):
        if one["bound"] == "exact":
            radii.setdefault(one.get("seconds_a_digit", _EXACT_SECONDS), []).append(one["epsilon"])
    commands = [cards.evaluate_command(name)]
    for seconds, epsilons in radii.items():
        options = "".join(f" --epsilon {epsilon}" for epsilon in epsilons) + f" --exact {seconds:g}"
        commands.append(f"whitebox certify {cards.target(name)}{options} --out {cards.directory / name}.json")
    return commands


def _read_out_by(cards: Cards) -> list[str]:
    commands = [f"- `{cards.introspect_command(name)}`" for name in cards.introspections]
    return ["What is inside the networks was read out by", "\n".join(commands)] if commands else []


def _trained_by(card: Card) -> str:
    if not card.get("recipe"):
        return NOTHING
    source = card["data"]["source"].partition(",")[0]
    data = "" if is_of_mnist(card) else f" --data {source}"
    name = card["recipe"]
    recipe = f"--recipe {name}" if name in RECIPES else f"--recipe-file {name}.toml"
    return f"`whitebox train{data} {recipe} --seed {card.get('seed', 0)}`"


def _time(card: Card) -> str:
    if "seconds" not in card:
        return NOTHING
    processes = card.get("processes", 1)
    return f"{card['seconds'] / 60:.1f} min, {processes} process{'es' if processes > 1 else ''}"


def _made_with(card: Card) -> str:
    code = " ".join(f"{name} {version}" for name, version in card.get("code", {}).items())
    machine = ", ".join(f"{name} {plain(value)}" for name, value in card.get("machine", {}).items())
    return "; ".join(filter(None, (code, machine)))
