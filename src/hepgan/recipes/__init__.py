"""Recipes: everything that makes an event generator, but for the events."""

from hepgan.recipes.derived import Derived
from hepgan.recipes.drafting.draft import draft, draft_recipe
from hepgan.recipes.drafting.summary import Draft
from hepgan.recipes.recipe import EventsConfig, Recipe, load_recipe, recipe_names, recipe_text

__all__ = [
    "Derived",
    "Draft",
    "EventsConfig",
    "Recipe",
    "draft",
    "draft_recipe",
    "load_recipe",
    "recipe_names",
    "recipe_text",
]
