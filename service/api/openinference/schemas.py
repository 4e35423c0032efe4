"""The JSON of the Open Inference Protocol V2 and of its model repository extension."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Parameters = dict[str, Any]


class _RequestModel(BaseModel):
    # KServe's own client sends fields that the protocol does not have.
    model_config = ConfigDict(extra="ignore")


class InferInput(_RequestModel):
    """One input tensor."""

    name: str
    shape: Annotated[list[int], Field(min_length=1, max_length=8)]
    datatype: str
    parameters: Parameters = Field(default_factory=dict)
    data: Annotated[
        list[Any] | None, Field(description="Nested or flat, row by row; absent for a binary tensor.")
    ] = None


class InferOutput(_RequestModel):
    """One output that is asked for."""

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(_RequestModel):
    """Body of POST /v2/models/{model}/infer."""

    id: str | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: Annotated[list[InferInput], Field(min_length=1)]
    outputs: list[InferOutput] | None = None


class ServerMetadata(BaseModel):
    """Response of GET /v2."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Name and form of an input or an output; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Response of GET /v2/models/{model}."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    """Response of GET /v2/models/{model}/ready."""

    name: str
    ready: bool


class InferResponseOutput(TensorMetadata):
    """One output tensor; `data` is flat, row by row, and absent for a binary tensor."""

    parameters: Parameters | None = None
    data: list[float] | list[int] | list[str] | None = None


class InferResponse(BaseModel):
    """Response of POST /v2/models/{model}/infer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferResponseOutput]


class RepositoryIndexRequest(BaseModel):
    """Body of POST /v2/repository/index; may be absent."""

    model_config = ConfigDict(strict=True)

    ready: Annotated[bool, Field(description="Only what is loaded.")] = False


class RepositoryModelRequest(BaseModel):
    """Body of load and unload; may be absent."""

    model_config = ConfigDict(strict=True)

    parameters: Parameters = Field(default_factory=dict)


class RepositoryIndexEntry(BaseModel):
    """A model package in the repository."""

    name: str
    version: str
    state: str
    reason: str


class RepositoryModelResponse(BaseModel):
    """Response of load and unload: an empty object."""
