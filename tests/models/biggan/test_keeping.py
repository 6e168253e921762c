"""What is kept of a run: the last generator or the best, and what goes on from it."""

import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.models.biggan import small
from tfdl.engine import model_dir
from tfdl.engine.learner import Learner
from tfdl.models.biggan.collapse import Detector, Signs
from tfdl.models.biggan.model import load_discriminator, load_training_generator
from tfdl.models.biggan.names import named_variables
from tfdl.models.biggan.task import BigGANTask


@pytest.mark.parametrize("collapsed", [False, True])
def test_the_last_or_after_a_collapse_the_best(tmp_path, collapsed):
    task = BigGANTask(small.recipe(), tmp_path)
    task.prepare()
    learner = Learner(task, tf.distribute.get_strategy(), task.config)
    task.phase = task.phases()[0]
    learner.step.assign(2)
    metrics = task.evaluate(learner)
    assert (tmp_path / "best" / "config.json").is_file()
    assert metrics["collapsed"] == 0.0 and not task.finished(metrics)
    name = "blocks.2.0.conv2.weight"
    best = named_variables(learner.model)[name].numpy()
    named_variables(learner.model)[name].assign_add(tf.ones_like(best))
    learner.ema.update()
    if collapsed:
        # Evaluations that show it.
        task.detector = Detector(Signs(patience=1))
        task.detector.see({"distance": 1.0})
        learner.step.assign(4)
        later = task.evaluate(learner)
        assert later["collapsed"] == 1.0 and task.finished(later)
    with learner.ema.swapped():
        kept = task.kept_model(learner)
        model_dir.save(tmp_path / "model", task.model_config(), kept, task.assets())
    saved = tfdl.load(str(tmp_path / "model"))
    value = named_variables(saved)[name].numpy()
    np.testing.assert_allclose(value, best if collapsed else best + 1.0, rtol=1e-6)
    assert (load_training_generator(tmp_path / "model") is None) == collapsed
    assert load_discriminator(tmp_path / "model") is not None
    if collapsed:
        assert any("of step 2" in line for line in task.remarks())
    else:
        raw = named_variables(load_training_generator(tmp_path / "model"))
        np.testing.assert_allclose(raw[name].numpy(), best + 1.0, rtol=1e-6)
    task.kept = None
    assert not list(tmp_path.glob(".kept-*"))
