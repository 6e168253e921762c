"""Children: short trainings that score a proposed architecture."""

import importlib
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.children.child import Children

# A module of this package for each; it is imported when it is asked for, so that a
# worker whose children need no TensorFlow starts at once.
KINDS = ("image", "language", "sleep", "table", "zoph_conv")


def create(config: Mapping[str, Any]) -> Children:
    """Returns the children of a configuration, `{"name": kind, ...}`.

    Raises:
        UserError: an unknown kind, or options that make no sense.
    """
    name = config.get("name")
    if name not in KINDS:
        raise errors.unknown("kind of children", name, KINDS)
    module = importlib.import_module(f"tfdl.models.automl.children.{name}")
    return module.CHILDREN(config)
