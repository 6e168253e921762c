"""What is left of a run: a generator for every truncation, and what goes on from it."""

import dataclasses
import pathlib
import tempfile

import keras

from tfdl.engine import errors, model_dir
from tfdl.engine.learner import Learner
from tfdl.models.biggan import model as networks
from tfdl.models.biggan import standing


@dataclasses.dataclass(frozen=True)
class Kept:
    """The networks of a model directory.

    Attributes:
        generator: what is called.
        assets: files of the discriminator's weights and, unless the generator is the
            best one of the run, of the generator's weights that were not averaged.
        is_best: the generator is the best one of the run, not the last.
        scratch: where the files lie; they go with it.
    """

    generator: keras.Model
    assets: dict[str, pathlib.Path]
    is_best: bool
    scratch: tempfile.TemporaryDirectory


def keep(
    learner: Learner,
    workdir: pathlib.Path,
    settings: standing.Standing,
    rows: int,
    best: pathlib.Path | None,
) -> Kept:
    """Returns what the model directory is made of; the averages are in place.

    Args:
        learner: with the networks.
        workdir: the run's folder, where files are written for the moment.
        settings: how statistics are measured.
        rows: of the table of truncations; 0 keeps running statistics.
        best: a model directory whose weights to take instead of the last.
    """
    generator = standing.plain_copy(learner.model)
    if best is not None:
        model_dir.load_weights(best, generator)
    scratch = tempfile.TemporaryDirectory(prefix=".kept-", dir=workdir)
    folder = pathlib.Path(scratch.name)
    name = networks.DISCRIMINATOR
    assets = {name: _write(folder / name, learner.networks["discriminator"])}
    if learner.ema is not None and best is None:
        with learner.ema.unswapped():
            raw = standing.plain_copy(learner.model)
        if rows:
            raw = standing.in_rows(raw, rows)
        name = networks.TRAINING_GENERATOR
        assets[name] = _write(folder / name, raw)
    if rows:
        generator = standing.with_table(generator, settings, rows)
    return Kept(generator, assets, best is not None, scratch)


def _write(path: pathlib.Path, network: keras.Model) -> pathlib.Path:
    try:
        network.save_weights(str(path))
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from None
    return path
