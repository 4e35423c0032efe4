"""The commands that ask a model for one image: predict, explain, attack."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from model.attacks.catalogue import ATTACKS
from model.attacks.settings import Norm
from service.api.schemas import responses
from service.codecs.figure_png import is_figure_file, save_figure
from service.codecs.serialization import to_json
from whitebox.asking.answer import AskedAttack, AskedModel
from whitebox.asking.local_model import LocalModel
from whitebox.asking.remote_model import RemoteModel
from whitebox.cli.console import Json, errors_in_one_line, fail, print_json, say, tell, working
from whitebox.cli.options import ApiKey, ImageFile, ModelName, Plugins, TrueLabel, Url
from whitebox.terminal.pictures import attack_picture, explanation_picture, prediction_picture


def predict(
    image: ImageFile,
    model: ModelName = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Say what an image file shows, and show what the network saw.

    Example: whitebox predict examples/three.png
    """
    with errors_in_one_line("predict"):
        answer = asked_model(model, url, api_key).predict(image.read_bytes(), picture=not as_json)
    if as_json:
        print_json(answer.document)
        return
    tell(prediction_picture(responses.Prediction.model_validate_json(to_json(answer.item))))


def explain(
    image: ImageFile,
    save: Annotated[Path | None, typer.Option(help="Where to write the figure of it: .svg or .png.")] = None,
    model: ModelName = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Say what an image file shows and which shapes speak for and against it.

    Example: whitebox explain examples/three.png --save explanation.svg
    """
    if save is not None and not is_figure_file(save):
        fail(f"--save {save}: a figure is written as .svg or .png.")
    with errors_in_one_line("explain"):
        asked, file = asked_model(model, url, api_key), image.read_bytes()
        if save is not None:
            save_figure(asked.figure(file), save)
        answer = asked.explain(file, picture=not as_json)
    if as_json:
        print_json(answer.document)
        return
    tell(explanation_picture(responses.Explanation.model_validate_json(to_json(answer.item))))
    if save is not None:
        say(f"The figure is in {save}.")


def attack(
    image: ImageFile,
    label: TrueLabel = None,
    attack: Annotated[str, typer.Option(help="Which attack (docs/api.md, or a plugin's).")] = "pgd",
    norm: Annotated[Norm, typer.Option(help="Norm of the ball.")] = "linf",
    epsilon: Annotated[
        float | None, typer.Option(min=0, help="Radius of the ball; default, for linf: the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Where to write the image found, as PNG.")] = None,
    model: ModelName = None,
    plugin: Plugins = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Look for an image near this one that the model takes for something else.

    Example: whitebox attack examples/five.png --attack pgd --epsilon 0.3 --save found.png
    """
    with errors_in_one_line("attack", plugin):
        if url is None and attack not in ATTACKS:
            fail(f"There is no attack {attack!r}; there are {', '.join(ATTACKS)}; --plugin brings others.")
    if epsilon is None and norm != "linf":
        fail(f"The model's own radius is one of the L-inf ball; name one for {norm}: --epsilon.")
    with errors_in_one_line("attack"), working(f"attacking with {attack}"):
        asked, file = asked_model(model, url, api_key), image.read_bytes()
        radius = asked.epsilon() if epsilon is None else epsilon
        answer = asked.attack(file, label, AskedAttack(attack, norm, radius, seed))
        seen = None if as_json else asked.seen(file)
    if save is not None:
        found = np.array(answer.item["image"], np.float32)
        Image.fromarray((found * 255).round().astype(np.uint8)).save(save, "PNG")
    if seen is None:
        print_json(answer.document)
        return
    tell(attack_picture(responses.AttackOutcome.model_validate_json(to_json(answer.item)), seen))
    if save is not None:
        say(f"The image is in {save}.")


def asked_model(model: str | None, url: str | None, api_key: str | None) -> AskedModel:
    """Returns the model that options name: behind a service if there is a URL, else loaded here."""
    return LocalModel(model) if url is None else RemoteModel(url, model, api_key)
