"""Rectangular validation against the original's batches and crops."""

import json

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.models.imagenet18 import rectangles

GOLDEN = json.loads(golden("imagenet18", "rect_val.json").read_text())
SHAPES = np.array(GOLDEN["sizes_wh"])[:, ::-1]


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_batches_and_crops(case):
    plan = rectangles.plan(SHAPES, case["target"], case["val_bs"])
    order = np.concatenate([batch.indices for batch in plan])
    assert order.tolist() == case["sorted_index"]
    # Ranks own runs of whole batches; together they are ours.
    ranks = [b for rank in case["batches_by_rank"] for b in rank if b]
    assert [batch.indices.tolist() for batch in plan] == ranks
    for batch in plan:
        for index in batch.indices:
            _, width, height, crop_h, crop_w = case["per_image"][index]
            assert (batch.height, batch.width) == (crop_h, crop_w)
            short = min(SHAPES[index])
            assert batch.resize == min(width, height)
            resized = [int(batch.resize * side / short) for side in SHAPES[index]]
            assert resized == [height, width]
