"""The JSON of requests: they are validated by these schemas."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from model.attacks.settings import AttackName, Norm
from model.network_config import LARGEST_SIDE
from model.package import Label
from service.budgets import MOST_IMAGES
from service.codecs.json_images import InputImage
from service.codecs.serialization import TRACE_PARTS, TracePart
from service.errors import invalid_at
from service.http.problems import JSON_BRANCH


class RequestModel(BaseModel):
    """Base of requests: what is not known is refused, not ignored, and nothing is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ModelChoice(RequestModel):
    """The model that is asked."""

    model: Annotated[str | None, Field(description="Name of a loaded model.")] = None
    version: Annotated[str | None, Field(description="A loaded version of it; default: the newest.")] = None


Choice = TypeVar("Choice", bound=ModelChoice)


def with_query(body: Choice, query: ModelChoice) -> Choice:
    """Returns a body with what the query says and the body does not.

    Raises:
        InvalidInput: They say different things.
    """
    given = {name: getattr(query, name) for name in query.model_fields_set}
    for name in body.model_fields_set & given.keys():
        if getattr(body, name) != given[name]:
            raise invalid_at([name], "the query and the body say different things")
    return body.model_copy(update=given)


class InferenceOptions(ModelChoice):
    """What is asked of a model."""

    typicality_level: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="An image whose p-value is at most this is untypical; default: the service's.",
        ),
    ] = None


class PictureOptions(InferenceOptions):
    """How pictures become images."""

    split: Annotated[
        bool,
        Field(description="Answer each digit of a picture, in reading order, with its `box` and `source`."),
    ] = False


class PredictOptions(PictureOptions):
    """How predictions are asked for."""

    debug: Annotated[
        Literal["preprocessing"] | None,
        Field(description="`preprocessing`: answer with the `image` that the network saw, too."),
    ] = None


class PredictQuery(PredictOptions):
    """The query of POST /v1/predict, where all is text."""

    model_config = ConfigDict(strict=False)


class ImagesRequest(InferenceOptions):
    """Images for a model."""

    images: Annotated[list[InputImage], Field(min_length=1, max_length=MOST_IMAGES)]
    preprocess: Annotated[
        bool, Field(description="Bring lists of numbers into the network's form, as files are.")
    ] = False


class PredictRequest(PredictOptions, ImagesRequest):
    """Body of POST /v1/predict."""


class ExplainOptions(PictureOptions):
    """What an explanation is to hold."""

    include: Annotated[
        list[TracePart],
        Field(fail_fast=True, description="Parts of the trace.", min_length=1, max_length=len(TRACE_PARTS)),
    ] = list(TRACE_PARTS)
    format: Annotated[
        Literal["json", "png", "figure"],
        Field(
            description="Maps as nested lists or as base64 PNG; `figure`: one SVG of it all, of one image. "
            "`Accept: image/svg+xml` asks for the same, `Accept: image/png` for it as PNG."
        ),
    ] = "json"


class ExplainQuery(ExplainOptions):
    """The query of POST /v1/explain, where all is text."""

    model_config = ConfigDict(strict=False)


class ExplainRequest(ExplainOptions, ImagesRequest):
    """Body of POST /v1/explain."""


def _branch(value: object) -> str:
    return "file" if isinstance(value, bytes) else JSON_BRANCH


# FastAPI hands on as bytes what is not JSON: the file of one image.
PredictBody = Annotated[
    Annotated[PredictRequest, Tag(JSON_BRANCH)] | Annotated[SkipJsonSchema[bytes], Tag("file")],
    Discriminator(_branch),
]
ExplainBody = Annotated[
    Annotated[ExplainRequest, Tag(JSON_BRANCH)] | Annotated[SkipJsonSchema[bytes], Tag("file")],
    Discriminator(_branch),
]


class LabelledImagesRequest(ImagesRequest):
    """Images with the labels that they should have."""

    labels: Annotated[
        Annotated[list[Label], Field(fail_fast=True, max_length=MOST_IMAGES)] | None,
        Field(description="The true labels; default: what the model says of each image."),
    ] = None


class CertifyRequest(LabelledImagesRequest):
    """Body of POST /v1/certify."""

    norm: Literal["linf"] = "linf"
    epsilon: Annotated[
        float, Field(ge=0, le=1, allow_inf_nan=False, description="Radius, in units of the range [0, 1].")
    ]
    radius: Annotated[bool, Field(description="Whether to look for the certified radius.")] = True
    counterexample: Annotated[
        bool, Field(description="Whether to look for a counterexample where the bound proves nothing.")
    ] = True


class AttackRequest(LabelledImagesRequest):
    """Body of POST /v1/attack."""

    attack: AttackName
    norm: Norm = "linf"
    epsilon: Annotated[
        float,
        Field(
            ge=0, le=LARGEST_SIDE, allow_inf_nan=False, description="Radius, in units of the range [0, 1]."
        ),
    ]
    steps: Annotated[int | None, Field(ge=1, le=100_000)] = None
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    query_budget: Annotated[
        int | None, Field(ge=1, description="Rows an image's attack may put through the model.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
