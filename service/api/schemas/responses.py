"""The JSON of responses, which are documented by these schemas.

Predictions, explanations, attacks and certificates are written straight from arrays
(`service.codecs.serialization`) and answered as a `Response`: an explanation holds 14,000 numbers, and to
validate them again would cost more than to compute them. The tests hold every such response against its
schema.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from model.conformal import TypicalWithin
from model.package import Label
from service.errors import PlacedBox

Map = list[list[float]]
Verdict = Literal["certified", "falsified", "unknown"]


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Typicality(BaseModel):
    """Whether an image looks like those that the model was trained on (docs/typicality.md)."""

    p_value: Annotated[
        float, Field(description="The share of held-out genuine images that are at least as unusual.")
    ]
    typical: Annotated[bool, Field(description="Whether the p-value is above the level.")]


class Prediction(BaseModel):
    """What the model says of one image. Keys of the maps are the labels."""

    label: Label
    confidence: float
    probabilities: dict[str, float]
    logits: dict[str, float]
    typicality: Annotated[
        Typicality | None, Field(description="Absent if the package has no calibration.")
    ] = None
    preprocessed: Annotated[
        list[str] | None,
        Field(description="For a file: the steps that brought it into the network's form, if any."),
    ] = None
    box: Annotated[PlacedBox | None, Field(description="Where in its picture the digit was found.")] = None
    source: Annotated[int | None, Field(description="With `split`: the index of its picture.")] = None
    image: Annotated[
        Map | str | None, Field(description="What the network saw, if `debug` or `include` asks for it.")
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

    speaks_for: Annotated[Label, Field(description="The label whose one-hot block it stands in.")]
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

    image: Annotated[
        Map | str | None, Field(description="What the network was given: a file after preprocessing.")
    ] = None
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
    label: Annotated[Label, Field(description="The label that the attack tried to get away from.")]
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
    """An image inside the ball and the box that the model takes for something else."""

    image: Map
    distance: PerturbationSize
    prediction: Prediction


class CertifyOutcome(BaseModel):
    """What is known about attacks on one image within epsilon."""

    label: Annotated[Label, Field(description="The label whose lead is bounded.")]
    prediction: Prediction
    verdict: Annotated[
        Verdict,
        Field(
            description="certified: no attack within epsilon can succeed, proved. falsified: the "
            "counterexample does. unknown: neither was shown. It is about whether the answer can change, "
            "not about whether it is true: a network that knows 3 and 5 may be certain of a 7."
        ),
    ]
    typical: Annotated[
        bool | None,
        Field(description="Whether it looks like what the model was trained on, as `prediction` says."),
    ] = None
    typical_within_epsilon: Annotated[
        TypicalWithin | None,
        Field(
            description="always: every image within epsilon is typical, proved. never: none is. unknown: "
            "neither was shown. Missing where the package has no prototypes, or time ran out."
        ),
    ] = None
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
    about: Annotated[str, Field(description="What it tells apart, and what it answers to all else.")]
    ready: Annotated[bool, Field(description="True for every loaded model.")] = True


class ModelList(BaseModel):
    """Response of GET /v1/models: every loaded version."""

    default: str
    models: list[ModelSummary]


class ModelDetails(ModelSummary):
    """Response of GET /v1/models/{name}: the whole manifest."""

    versions: Annotated[list[str], Field(description="All loaded versions, oldest first.")]
    manifest: dict[str, Any]
