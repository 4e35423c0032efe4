"""What a module of one's own may add to the project: attacks, objectives, schedules, recipes, data sources.

Each kind has one `Registry`, in which the project lists its own as well; docs/plugins.md shows how to add.
"""

from model.plugins.loading import PluginError, load_plugin, loaded_plugins
from model.plugins.registry import Registry, registry_of_classes

__all__ = ["PluginError", "Registry", "load_plugin", "loaded_plugins", "registry_of_classes"]
