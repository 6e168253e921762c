"""Evaluation pictures: the reference's pixels, every picture once, in order."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data import pictures
from tests.helpers import golden
from tfdl.data.evaluation_images import (
    EvaluationBatch,
    central,
    evaluation_images,
    square_plan,
)
from tfdl.data.image_sources import open_source
from tfdl.engine.errors import UserError


def test_pixels_are_the_reference_s():
    cases = np.load(golden("imagenet18", "io_val_pixels.npz"))
    for k in range(len([name for name in cases if name.startswith("in_")])):
        want = cases[f"out_{k}"].astype(int)
        resize = int(int(cases[f"target_{k}"]) * 1.14)
        image = tf.constant(cases[f"in_{k}"])
        found = central(image, resize, *want.shape[:2]).numpy()
        assert np.abs(found - want).max() <= 1
        # The whole resized picture as well, which tells its size and phase.
        size = cases[f"resized_{k}"].shape
        whole = central(image, resize, *size[:2]).numpy()
        assert np.abs(whole - cases[f"resized_{k}"].astype(int)).max() <= 1


def test_black_surrounds_a_picture_smaller_than_the_crop():
    image = tf.fill([20, 30, 3], tf.constant(200, tf.uint8))
    found = central(image, 20, 25, 26).numpy()
    assert (found[2:22] == 200).all()
    # As torchvision pads: the odd row below.
    assert not found[:2].any() and not found[22:].any()


def test_a_plan_shows_every_picture_once(tmp_path):
    source = open_source(f"folder:{pictures.folder(tmp_path)}")
    plan = square_plan(len(source), 3, 16, 18)
    dataset = evaluation_images(source, plan)
    assert dataset.element_spec["image"].shape == (3, 16, 16, 3)
    found = list(dataset.as_numpy_iterator())
    assert sum(batch["weight"].sum() for batch in found) == len(source) == 8
    labels = np.concatenate([batch["label"] for batch in found])
    assert labels.tolist() == [*source.labels, 0]
    assert found[-1]["weight"].tolist() == [1, 1, 0]
    assert not found[-1]["image"][2].any()


def test_crops_differ_between_batches(tmp_path):
    source = open_source(f"folder:{pictures.folder(tmp_path)}")
    plan = [
        EvaluationBatch(np.array([5, 1]), 18, 16, 24),
        EvaluationBatch(np.array([0, -1]), 20, 32, 16),
    ]
    dataset = evaluation_images(source, plan)
    assert dataset.element_spec["image"].shape.as_list() == [2, None, None, 3]
    shapes = [batch["image"].shape for batch in dataset.as_numpy_iterator()]
    assert shapes == [(2, 16, 24, 3), (2, 32, 16, 3)]


def test_refusals():
    source = open_source("embedded:digits")
    with pytest.raises(UserError, match="no pictures"):
        evaluation_images(source, [])
    with pytest.raises(UserError, match="batch size"):
        square_plan(10, 0, 8, 8)
