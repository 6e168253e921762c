"""What a found network sees on pictures, or what a search's result holds."""

from collections.abc import Iterator
from typing import Any

import tfdl
from tfdl.classifiers import prediction
from tfdl.engine.prediction import Request
from tfdl.models.automl.search import predicting, result


def writes_files(request: Request) -> bool:
    """Tells whether the model itself writes where --output says."""
    return not result.is_result(request.config)


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Returns a record per picture, per trial of a search, or per architecture.

    See `tfdl.classifiers.prediction.predict` and `search.predicting.predict`.
    """
    if result.is_result(request.config):
        return predicting.predict(request)
    return prediction.predict(request, tfdl.load(request.model_dir))
