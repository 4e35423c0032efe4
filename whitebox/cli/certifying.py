"""The command that certifies: one image, or all test images of a model."""

from pathlib import Path
from typing import Annotated

import typer

from service.api.schemas.responses import CertifyOutcome
from service.codecs.serialization import to_json
from whitebox.cli.asking import asked_model
from whitebox.cli.console import Json, errors_in_one_line, fail, print_json, tell, working
from whitebox.cli.evaluation import TestImages, certify_model
from whitebox.cli.options import (
    ApiKey,
    Data,
    DataDir,
    Limit,
    ModelName,
    Plugins,
    Sample,
    SplitOption,
    TrueLabel,
    Url,
)
from whitebox.terminal.pictures import certificate_picture

Certified = Annotated[
    Path,
    typer.Argument(
        help="An image (PNG, JPEG or WebP), or a model package (artifacts/NAME/VERSION) or run (runs/NAME)."
    ),
]
Radii = Annotated[
    list[float] | None,
    typer.Option(
        min=0,
        max=1,
        help="Radius; default: the model's own, of test images by thirds too. Of a model may be repeated.",
    ),
]
ExactSeconds = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds an image for linear bounds and HiGHS where intervals prove nothing."),
]
Verdicts = Annotated[
    Path | None,
    typer.Option(
        help="Where every image's verdict goes, a JSON line each; the same command goes on from there, and "
        "with more seconds tries what is unknown."
    ),
]
Card = Annotated[
    Path | None, typer.Option(help="Where the card goes; results are added to an existing card.")
]
_OF_AN_IMAGE = ("label", "model", "url")
_OF_A_MODEL = ("exact", "verdicts", "out", "data", "plugin", "data_dir", "sample", "split", "limit")


def certify(
    context: typer.Context,
    target: Certified,
    epsilon: Radii = None,
    label: TrueLabel = None,
    model: ModelName = None,
    url: Url = None,
    api_key: ApiKey = None,
    exact: ExactSeconds = None,
    verdicts: Verdicts = None,
    out: Card = None,
    data: Data = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: SplitOption = "test",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Prove that no attack in an L-inf ball can turn an image; of a model, for how many test images.

    --label, --model, --url and --api-key are for an image; --exact and what stands below it for a model.

    Example: whitebox certify examples/three.png --epsilon 0.1

    Example: whitebox certify artifacts/mnist-3v5-certified/7 --epsilon 0.3 --exact 60
    """
    if target.is_file():
        _refuse_given(context, _OF_A_MODEL, "a package or a run, not of an image")
        _certify_image(target, epsilon or [], label, model, url, api_key, as_json)
        return
    if not target.exists():
        fail(f"There is no image, package or run {target}.")
    _refuse_given(context, _OF_AN_IMAGE, f"an image, and {target} is no file")
    images = TestImages(data, data_dir, sample, split, limit)
    with errors_in_one_line("certify", plugin):
        certify_model(target, epsilon, exact, verdicts, out, images, as_json)


def _certify_image(
    image: Path,
    radii: list[float],
    label: str | None,
    model: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    if len(radii) > 1:
        fail("An image is certified within one --epsilon at a time.")
    with errors_in_one_line("certify"), working("certifying"):
        asked, file = asked_model(model, url, api_key), image.read_bytes()
        epsilon = radii[0] if radii else asked.epsilon()
        answer = asked.certify(file, label, epsilon)
        seen = None if as_json else asked.seen(file)
    if seen is None:
        print_json(answer.document)
        return
    tell(certificate_picture(CertifyOutcome.model_validate_json(to_json(answer.item)), seen, epsilon))


def _refuse_given(context: typer.Context, names: tuple[str, ...], of_what: str) -> None:
    """Ends the command where an option is given that would be passed over."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"--{name.replace('_', '-')} is an option of {of_what}.")
