"""ULMFiT's tasks by the names that recipes use."""

from collections.abc import Mapping
from typing import Any

from tfdl.models.ulmfit.classify_task import ClassifyTask
from tfdl.models.ulmfit.lm_task import LanguageModelTask


def recipe_for(config: Mapping[str, Any]) -> str:
    """Returns the recipe that measures a model directory: its head's."""
    is_language_model = config["head"] == "language_model"
    return "language_model" if is_language_model else "classify"


TASKS = {"language_model": LanguageModelTask, "classify": ClassifyTask}
