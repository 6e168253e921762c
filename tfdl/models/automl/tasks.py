"""AutoML's tasks by the names that recipes use."""

from collections.abc import Mapping
from typing import Any

from tfdl.models.automl.enas.image_tasks import EnasMacroTask, EnasMicroTask
from tfdl.models.automl.enas.text_task import EnasTextTask
from tfdl.models.automl.image_task import ImageTask
from tfdl.models.automl.language_task import LanguageTask
from tfdl.models.automl.search.task import SearchTask

TASKS = {
    "search": SearchTask,
    "image": ImageTask,
    "language": LanguageTask,
    "enas_micro": EnasMicroTask,
    "enas_macro": EnasMacroTask,
    "enas_rnn": EnasTextTask,
}


def recipe_for(saved: Mapping[str, Any]) -> str:
    """Returns the recipe whose task measures a model directory."""
    if saved.get("kind") == "search":
        return "evaluate_search"
    kind = saved.get("network", {}).get("kind", "cells")
    return "evaluate_language" if kind == "language" else "evaluate"
