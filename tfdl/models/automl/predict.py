"""What a found network makes of pictures or texts; what a search's result holds."""

from collections.abc import Iterator
from typing import Any

import tfdl
from tfdl.classifiers import prediction
from tfdl.engine.prediction import Request
from tfdl.models.automl import language_predict
from tfdl.models.automl.search import predicting, result


def writes_files(request: Request) -> bool:
    """Tells whether the model itself writes where --output says."""
    return "preprocessing" in request.config


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Returns a record per picture, text, trial of a search, or architecture.

    See `classifiers.prediction`, `language_predict` and `search.predicting`.
    """
    if result.is_result(request.config):
        return predicting.predict(request)
    if (request.config.get("network") or {}).get("kind") == "language":
        return language_predict.predict(request)
    return prediction.predict(request, tfdl.load(request.model_dir))
