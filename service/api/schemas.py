"""The JSON of the REST contract: requests are validated by these schemas, responses documented by them.

Predictions, explanations, attacks and certificates are written straight from arrays
(`service.codecs.serialization`) and answered as a `Response`: an explanation holds 14,000 numbers, and to
validate them again would cost more than to compute them. The tests hold every such response against its
schema.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from model.attacks.settings import AttackName, Norm
from model.package import Label
from service.budgets import MOST_IMAGES
from service.codecs.json_images import InputImage
from service.codecs.serialization import TRACE_PARTS, TracePart
from service.errors import invalid_at
from service.http.problems import JSON_BRANCH

Map = list[list[float]]
Verdict = Literal["certified", "falsified", "unknown"]


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


class ImagesRequest(ModelChoice):
    """Images for a model."""

    images: Annotated[list[InputImage], Field(min_length=1, max_length=MOST_IMAGES)]


class PredictRequest(ImagesRequest):
    """Body of POST /v1/predict."""


class ExplainOptions(ModelChoice):
    """What an explanation is to hold."""

    include: Annotated[
        list[TracePart],
        Field(fail_fast=True, description="Parts of the trace.", min_length=1, max_length=len(TRACE_PARTS)),
    ] = list(TRACE_PARTS)
    format: Annotated[Literal["json", "png"], Field(description="Maps as nested lists or as base64 PNG.")] = (
        "json"
    )


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
    """Images with the digits that they are."""

    labels: Annotated[
        Annotated[list[Label], Field(fail_fast=True, max_length=MOST_IMAGES)] | None,
        Field(description="The true digits; default: what the model says of each image."),
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
        Field(ge=0, le=28, allow_inf_nan=False, description="Radius, in units of the range [0, 1]."),
    ]
    steps: Annotated[int | None, Field(ge=1, le=100_000)] = None
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    query_budget: Annotated[
        int | None, Field(ge=1, description="Rows an image's attack may put through the model.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Prediction(BaseModel):
    """What the model says of one image. Keys of the maps are the digits."""

    label: Label
    confidence: float
    probabilities: dict[str, float]
    logits: dict[str, float]
    preprocessed: Annotated[
        list[str] | None,
        Field(description="For a PNG: the steps that brought it into MNIST's form, if any."),
    ] = None


class PredictResponse(BaseModel):
    """Response of POST /v1/predict."""

    model: ModelRef
    predictions: list[Prediction]


class Bright(BaseModel):
    """The convolutional layer's output and the winner at each pixel."""

    values: Map | str
    kernel: list[list[int]]
    rotation: Annotated[list[list[int]], Field(description="Index of the rotation, 360/32 degrees each.")]


class Shape(BaseModel):
    """One affine feature: how strongly it was found, in which pose, and that pose as an image."""

    speaks_for: Annotated[Label, Field(description="The digit whose one-hot block it stands in.")]
    activation: float
    pose: int
    template: Map | str


class Claim(BaseModel):
    """How one class came to its logit: contributions sum to it."""

    shape: Annotated[int, Field(description="Index of the own shape that carries the claim.")]
    contributions: list[float]


class Attribution(BaseModel):
    """What each pixel adds to one logit; both maps sum to it."""

    bright: Map | str
    two_step: Map | str


class Explanation(Prediction):
    """A prediction with the parts of its trace that were asked for."""

    two_step: Map | str | None = None
    bright: Bright | None = None
    shapes: list[Shape] | None = None
    claims: dict[str, Claim] | None = None
    attribution: dict[str, Attribution] | None = None
    gradient: dict[str, Map | str] | None = None


class ExplainResponse(BaseModel):
    """Response of POST /v1/explain."""

    model: ModelRef
    explanations: list[Explanation]


class PerturbationSize(BaseModel):
    """How far the adversarial image is from the original."""

    linf: float
    l2: float
    l0: int


class AttackOutcome(BaseModel):
    """What the attack on one image came to. `image` is always inside the ball and the box."""

    success: bool
    label: Annotated[Label, Field(description="The digit that the attack tried to get away from.")]
    original: Prediction
    adversarial: Prediction
    image: Map
    distance: PerturbationSize
    queries: int
    stopped_by: Literal["success", "finished", "query_budget", "deadline"]


class AttackResponse(BaseModel):
    """Response of POST /v1/attack."""

    model: ModelRef
    attack: dict[str, Any]
    results: list[AttackOutcome]


class Counterexample(BaseModel):
    """An image inside the ball and the box that the model takes for another digit."""

    image: Map
    distance: PerturbationSize
    prediction: Prediction


class CertifyOutcome(BaseModel):
    """What is known about attacks on one image within epsilon."""

    label: Annotated[Label, Field(description="The digit whose lead is bounded.")]
    prediction: Prediction
    verdict: Annotated[
        Verdict,
        Field(
            description="certified: no attack within epsilon can succeed, proved. falsified: the "
            "counterexample does. unknown: neither was shown."
        ),
    ]
    margin_lower_bound: Annotated[
        float, Field(description="Within epsilon the label's logit leads every other by at least this.")
    ]
    certified_radius: Annotated[
        float | None, Field(description="The largest radius that the bound certifies; 0 if there is none.")
    ] = None
    counterexample: Counterexample | None = None


class CertifyResponse(BaseModel):
    """Response of POST /v1/certify."""

    model: ModelRef
    epsilon: float
    norm: Literal["linf"]
    results: list[CertifyOutcome]


class ModelSummary(BaseModel):
    """A loaded model."""

    name: str
    version: str
    digest: str
    labels: list[Label]
    ready: Annotated[bool, Field(description="True for every loaded model.")] = True


class ModelList(BaseModel):
    """Response of GET /v1/models: every loaded version."""

    default: str
    models: list[ModelSummary]


class ModelDetails(ModelSummary):
    """Response of GET /v1/models/{name}: the whole manifest."""

    versions: Annotated[list[str], Field(description="All loaded versions, oldest first.")]
    manifest: dict[str, Any]
