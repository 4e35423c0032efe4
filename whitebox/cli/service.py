"""The commands that ask a model: serve, predict, explain, attack."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from model.attacks.catalogue import ATTACKS
from model.attacks.settings import AttackSettings, Norm
from model.package import Label
from model.package_directory import check_default_model, newest_package
from service.app import create_tracing, new_state
from service.codecs.json_images import DecodedImages
from service.codecs.preprocessing import read_image_file
from service.codecs.serialization import TracePart, explanations, outputs_of, predictions
from service.errors import Problem
from service.http.protection.auth import ApiKeys
from service.inference.engine import Engine, Images
from service.inference.explaining import figure_of
from service.server import run_server
from service.settings import LogLevel, Settings, load_settings
from service.workers.messages import attack_message
from service.workers.pool import WorkerPool
from whitebox.cli.console import Json, errors_in_one_line, fail, print_json, say, working
from whitebox.cli.options import Plugins

Png = Annotated[Path, typer.Argument(help="One image: PNG, JPEG or WebP.", exists=True, dir_okay=False)]
Epsilon = Annotated[float | None, typer.Option(min=0, help="Radius of the ball; default: the model's own.")]
Model = Annotated[str | None, typer.Option(help="Name of a model; default: the settings'.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default 8000; 0 picks a free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Serving processes; default 1.")] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The least serious log lines to write; default info.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Verify settings and models, answer one image, and stop.")
    ] = False,
) -> None:
    """Serve the models over HTTP. WHITEBOX_* variables set these options and all else (docs/settings.md).

    Example: whitebox serve --port 8000
    """
    with errors_in_one_line("serve"):
        settings = load_settings(host=host, port=port, workers=workers, log_level=log_level)
        ApiKeys.from_settings(settings)
        create_tracing(settings)
        check_default_model(settings.models_dir, settings.default_model)
        if check:
            _check(settings)
            return
    run_server(settings)


def _check(settings: Settings) -> None:
    """Loads everything as the service would and lets every model answer."""
    models = new_state(settings).models
    asyncio.run(models.load_all())
    for model in models:
        prediction = _predict(model.engine, np.zeros((1, *model.engine.size), np.float32))
        name = f"{model.package.name}/{model.package.version}"
        say(f"{name} answers {prediction['label']} to a blank image; digest {model.package.digest[:12]}")
    if refused := models.refused():
        fail("\n".join(f"{name}/{version}: {reason}" for (name, version), reason in refused.items()))
    has_keys = bool(ApiKeys.from_settings(settings))
    access = "asks for an API key" if has_keys else "is open to everybody who can reach it"
    say(f"Settings and models are fine. The service {access}.")


def predict(image: Png, model: Model = None, as_json: Json = False) -> None:
    """Say what an image file shows.

    Example: whitebox predict examples/three.png
    """
    engine, decoded = _ask("predict", image, model)
    answer = _predict(engine, decoded.images)
    if as_json:
        print_json(answer)
        return
    say(_in_words(answer))


def explain(
    image: Png,
    save: Annotated[Path | None, typer.Option(help="Where to write the figure of it, as SVG.")] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Say what an image file shows and which shapes speak for and against it.

    Example: whitebox explain examples/three.png --save explanation.svg
    """
    engine, decoded = _ask("explain", image, model)
    pixels = decoded.images
    if save is not None:
        save.write_text(figure_of(engine, pixels))
    parts: list[TracePart] = ["shapes", "claims"]
    trace = engine.explain(pixels, outputs_of(parts))
    predicted, level = engine.predict(pixels), load_settings().typicality_level
    answer = explanations(engine.labels, trace, predicted, level, decoded, parts)[0]
    if as_json:
        print_json(answer)
        return
    _print_explanation(answer)


def attack(
    image: Png,
    label: Annotated[str | None, typer.Option(help="The true label; default: what the model says.")] = None,
    attack: Annotated[str, typer.Option(help="Which attack (docs/api.md, or a plugin's).")] = "pgd",
    norm: Annotated[Norm, typer.Option(help="Norm of the ball.")] = "linf",
    epsilon: Epsilon = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Where to write the image found, as PNG.")] = None,
    model: Model = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Look for an image near a PNG that the model takes for something else.

    Example: whitebox attack examples/five.png --attack pgd --epsilon 0.3 --save found.png
    """
    with errors_in_one_line("attack", plugin):
        _check_attack(attack)
    engine, decoded = _ask("attack", image, model)
    pixels = decoded.images
    original = _predict(engine, pixels)
    true = original["label"] if label is None else _known_label(label, engine)
    settings = AttackSettings(attack, norm, _radius(epsilon, norm, engine), seed=seed)
    with working(f"attacking with {attack}"):
        found = asyncio.run(_attack(engine, pixels, true, settings))
    shape = np.array(found.pop("image"), np.float32)[None]
    adversarial = _predict(engine, shape)
    if save is not None:
        Image.fromarray((shape[0] * 255).round().astype(np.uint8)).save(save, "PNG")
    if as_json:
        print_json({**found, "original": original, "adversarial": adversarial})
        return
    _print_attack(found, original, adversarial)
    if save is not None:
        say(f"The image is in {save}.")


def _check_attack(name: str) -> None:
    if name not in ATTACKS:
        fail(f"There is no attack {name!r}; there are {', '.join(ATTACKS)}; --plugin brings others.")


def _known_label(text: str, engine: Engine) -> Label:
    known = {str(each): each for each in engine.labels}
    if text not in known:
        fail(f"The model tells {', '.join(known)} apart, not {text}.")
    return known[text]


def _radius(asked: float | None, norm: Norm, engine: Engine) -> float:
    if asked is not None:
        return asked
    if norm != "linf":
        fail(f"The model's own radius is one of the L-inf ball; name one for {norm}: --epsilon.")
    with errors_in_one_line("attack"):
        from training.data import epsilon_of

        return epsilon_of(engine.package.manifest.training or {})


async def _attack(engine: Engine, pixels: Images, label: Label, settings: AttackSettings) -> dict[str, Any]:
    limits = load_settings()
    pool = WorkerPool("attacks", workers=1, queue=1)
    pool.start()
    try:
        message = attack_message(engine, pixels[0], label, settings, limits.max_attack_queries)
        (found,) = await pool.run([message], time.monotonic() + limits.attack_timeout_seconds)
        return found
    except Problem as problem:
        fail(problem.detail)
    finally:
        await pool.stop()


def _ask(command: str, image: Path, model: str | None) -> tuple[Engine, DecodedImages]:
    with errors_in_one_line(command):
        settings = load_settings()
        engine = Engine(newest_package(settings.models_dir, model or settings.default_model))
        form = engine.preprocessing
        prepared = form.one(read_image_file(image.read_bytes(), settings.max_png_pixels, form.working_side))
        return engine, DecodedImages(prepared.pixels[None], [prepared])


def _in_words(answer: dict[str, Any]) -> str:
    told = f"{answer['label']} with confidence {answer['confidence']:.4f}"
    if answer.get("typicality", {}).get("typical", True):
        return told
    p_value = answer["typicality"]["p_value"]
    return f"{told}, but the image looks like nothing that the model was trained on (p-value {p_value:.4f})"


def _print_attack(found: dict[str, Any], original: dict[str, Any], adversarial: dict[str, Any]) -> None:
    say(f"original:    {_in_words(original)}")
    say(f"adversarial: {_in_words(adversarial)}")
    distance = ", ".join(f"{norm} {value:.4g}" for norm, value in found["distance"].items())
    result = "success" if found["success"] else "no adversarial image found"
    say(f"{result} after {found['queries']:,} queries; distance: {distance}")


def _predict(engine: Engine, image: Images) -> dict[str, Any]:
    """Returns the `Prediction` of the one image (1, H, W)."""
    return predictions(engine.labels, engine.predict(image), load_settings().typicality_level)[0]


def _print_explanation(answer: dict[str, Any]) -> None:
    say(_in_words(answer))
    for label, claim in answer["claims"].items():
        say(f"logit of {label}: {answer['logits'][label]:+.3f} =")
        for index, contribution in enumerate(claim["contributions"]):
            shape = answer["shapes"][index]
            say(
                f"  {contribution:+8.3f}  shape {index} (speaks for {shape['speaks_for']}, activation "
                f"{shape['activation']:.3f}, pose {shape['pose']})"
            )
