"""What is on pictures: the likeliest classes of files, and a contact sheet."""

from collections.abc import Iterator
from typing import Any

import tfdl
from tfdl.classifiers import prediction
from tfdl.engine.prediction import Request
from tfdl.models.imagenet18.model import fold

# Results go where --output says: JSON lines, or a folder with a contact sheet too.
WRITES_FILES = True


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Yields a record per picture, see `tfdl.classifiers.prediction.predict`."""
    yield from prediction.predict(request, fold(tfdl.load(request.model_dir)))
