"""The networks that a recipe can train, each known by the name that recipe.json gives it."""

from typing import Any

from model.network import NetworkConfig, WhiteBoxNetwork

Config = NetworkConfig
Network = WhiteBoxNetwork

_ARCHITECTURES: dict[str, tuple[type[Config], type[Network]]] = {
    "white-box": (NetworkConfig, WhiteBoxNetwork),
}


def build(config: Config) -> Network:
    """Returns a network with the starting values that torch's seed gives it."""
    return next(network(config) for known, network in _ARCHITECTURES.values() if isinstance(config, known))


def config_to_dict(config: Config) -> dict[str, Any]:
    """Returns a config as plain JSON values, with the name of its architecture."""
    name = next(name for name, (known, _) in _ARCHITECTURES.items() if isinstance(config, known))
    return {"architecture": name, **config.to_dict()}


def config_from_dict(values: dict[str, Any]) -> Config:
    """Reads what `config_to_dict` wrote."""
    known, _ = _ARCHITECTURES[values["architecture"]]
    return known.from_dict({key: value for key, value in values.items() if key != "architecture"})
