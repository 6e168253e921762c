"""The tasks of imagenet18 by the names that recipes use."""

from collections.abc import Mapping
from typing import Any

from tfdl.models.imagenet18.rotation import LinearProbeTask, RotationTask
from tfdl.models.imagenet18.task import ImagenetTask

TASKS = {
    "classify": ImagenetTask,
    "rotation": RotationTask,
    "linear_probe": LinearProbeTask,
}


def recipe_for(saved: Mapping[str, Any]) -> str:
    """Returns the recipe whose task measures a model directory."""
    return "evaluate_rotation" if saved.get("task") == "rotation" else "evaluate"
