"""What can be evaluated: a model package, a finished run, or any module that maps images to logits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from model.frozen import FrozenNetwork
from model.network import WhiteBoxNetwork
from model.package import MANIFEST, PREDICT_GRAPH, Label, ModelPackage, read_package
from training.data import epsilon_of
from training.networks.ablations import AblatedNetwork
from training.networks.architectures import Network
from training.recipes import Kind
from training.run import Run


@dataclass(frozen=True)
class EvaluatedModel:
    """One trained model, ready to be evaluated.

    Attributes:
        name: Of the model or the run.
        network: Maps (N, 1, H, W) in [0, 1] to logits (N, classes); in evaluation mode.
        labels: What each logit stands for, in order.
        kind: What the report shows it as.
        title: Short words for a table row.
        white_box: The network again, if certificates and attacks can look inside.
        num_parameters: How many parameters training could change; counted in `network` by default.
        recipe: Name of the recipe that trained it, if one did.
        seed: Of its training.
        graph: An ONNX graph with input `image` and output `logits`, if there is one.
        training: What its run or its manifest says of the training.
    """

    name: str
    network: nn.Module
    labels: tuple[Label, ...]
    kind: Kind = "baseline"
    title: str = ""
    white_box: FrozenNetwork | None = None
    num_parameters: int | None = None
    recipe: str | None = None
    seed: int | None = None
    graph: bytes | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epsilon(self) -> float:
        """Radius of the L-inf ball that it is judged at unless another is asked for."""
        return epsilon_of(self.training)

    def head(self) -> dict[str, Any]:
        """Returns what a card says of the model itself."""
        numbers = self.num_parameters
        if numbers is None:
            numbers = sum(parameter.numel() for parameter in self.network.parameters())
        return {
            "model": self.name,
            "kind": self.kind,
            "title": self.title or self.name,
            "num_parameters": numbers,
            "labels": list(self.labels),
            "recipe": self.recipe,
            "seed": self.seed,
        }


def is_package(path: Path) -> bool:
    """Tells whether a directory is a model package."""
    return (path / MANIFEST).exists()


def load_model(path: Path) -> EvaluatedModel:
    """Loads a model package or a finished run.

    Raises:
        PackageError: The package is damaged.
        RunError: There is no finished run.
    """
    return _of_package(read_package(path)) if is_package(path) else _of_run(Run(path))


def _of_package(package: ModelPackage) -> EvaluatedModel:
    network, training = WhiteBoxNetwork.from_package(package), package.manifest.training or {}
    name, graph = f"{package.name}/{package.version}", package.read(PREDICT_GRAPH)
    return _of_network(name, network, training, title=package.name, graph=graph)


def _of_run(run: Run) -> EvaluatedModel:
    description = run.description()
    recipe = description["recipe"]
    target = _of_network(run.directory.absolute().name, run.load(), description, title=recipe["title"])
    return replace(target, kind=recipe["kind"])


def _of_network(
    name: str, network: Network, training: Mapping[str, Any], title: str, graph: bytes | None = None
) -> EvaluatedModel:
    frozen = network.freeze() if isinstance(network, (WhiteBoxNetwork, AblatedNetwork)) else None
    return EvaluatedModel(
        name,
        (frozen or network).eval(),
        network.config.labels,
        "whitebox",
        title,
        white_box=frozen,
        num_parameters=network.num_parameters(),
        recipe=training.get("recipe", {}).get("name"),
        seed=training.get("seed"),
        graph=graph,
        training=training,
    )
