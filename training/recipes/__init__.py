"""Named ways to train a network, as plain data, and how one is fitted to other images and changed by hand."""

from training.recipes.catalogue import PAPER, RECIPES, find_recipe
from training.recipes.fitting import fit_to_data
from training.recipes.overrides import ChosenRecipe, chosen_recipe, overridden, read_recipe_file
from training.recipes.recipe import NO_NOISE, Kind, Noise, Recipe
from training.recipes.selection import Choice, Selection, select

__all__ = [
    "NO_NOISE",
    "PAPER",
    "RECIPES",
    "Choice",
    "ChosenRecipe",
    "Kind",
    "Noise",
    "Recipe",
    "Selection",
    "chosen_recipe",
    "find_recipe",
    "fit_to_data",
    "overridden",
    "read_recipe_file",
    "select",
]
