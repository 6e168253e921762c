"""Trains every architecture of a small space, for the table of their scores."""

import concurrent.futures
import io
import itertools
import multiprocessing
import pathlib
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tfdl.engine import command, errors, files, progress
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.spaces.space import Architecture

PARTIAL = "partial.npz"
LARGEST = 100_000  # architectures, equal ones included
_SAVE_EVERY = 30.0  # seconds
_AHEAD = 4  # children that wait for every worker


def compute(
    space: DagSpace, seeds: Sequence[int], folder: pathlib.Path, workers: int = 1
) -> np.ndarray:
    """Trains each distinct architecture once for every seed.

    What is done is kept in `folder`, so that a call goes on where one was stopped.

    Args:
        space: the architectures.
        seeds: of the children, the first one done first for all.
        folder: where `partial.npz` lives.
        workers: processes, of one thread each.

    Returns:
        Correct answers, int16 [architectures, seeds, (train, valid, test)], in the
        order of `distinct`.

    Raises:
        UserError: `partial.npz` is of another space or seeds; a worker died.
    """
    archs = distinct(space)
    path = folder / PARTIAL
    correct = _read(path, space, archs, seeds)
    todo = [
        (a, s)
        for s, a in itertools.product(range(len(seeds)), range(len(archs)))
        if correct[a, s, 0] < 0
    ]
    done = correct[..., 0].size - len(todo)
    bar = progress.Progress(correct[..., 0].size, done, "table")
    saved = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, _start, (space.nodes, space.ops)
    ) as pool:
        try:
            jobs = ((place, archs[place[0]], seeds[place[1]]) for place in todo)
            for place, counts in _completed(pool, jobs, workers * _AHEAD):
                correct[place] = counts
                done += 1
                bar.update(done)
                if time.monotonic() - saved > _SAVE_EVERY:
                    _write(path, space, archs, seeds, correct)
                    saved = time.monotonic()
                    bar.update(done, {"valid": counts[1]})
        except concurrent.futures.process.BrokenProcessPool:
            raise errors.UserError(
                "a process that trains children died; start again to go on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            _write(path, space, archs, seeds, correct)
            bar.close()
    return correct


def distinct(space: DagSpace) -> list[Architecture]:
    """Returns the canonical architectures, sorted."""
    return sorted({space.canonical(arch) for arch in space.all()})


def _completed(pool, jobs: Iterator, ahead: int) -> Iterator:
    waiting = set()
    for job in jobs:
        waiting.add(pool.submit(_train, *job))
        if len(waiting) >= ahead:
            ready, waiting = concurrent.futures.wait(
                waiting, return_when=concurrent.futures.FIRST_COMPLETED
            )
            yield from (future.result() for future in ready)
    yield from (future.result() for future in concurrent.futures.as_completed(waiting))


def _start(nodes: int, ops: Sequence[str]) -> None:
    """Begins a worker; TensorFlow starts here only."""
    command.start_tensorflow()
    import tensorflow as tf

    from tfdl.models.automl.tables import digits

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    global _trainer
    _trainer = digits.Trainer(DagSpace(nodes, ops))


def _train(place: tuple[int, int], arch: Architecture, seed: int):
    got = _trainer.train(arch, seed)
    return place, (got.train, got.valid, got.test)


def _write(path, space, archs, seeds, correct) -> None:
    data = io.BytesIO()
    np.savez_compressed(
        data,
        ops=np.array(space.ops),
        archs=np.array(archs, np.int8),
        seeds=np.array(seeds, np.int64),
        correct=correct,
    )
    files.atomic_write(path, data.getvalue())


def _read(path, space, archs, seeds) -> np.ndarray:
    correct = np.full((len(archs), len(seeds), 3), -1, np.int16)
    if not path.exists():
        return correct
    try:
        with np.load(path, allow_pickle=False) as stored:
            ops, before, numbers, counts = (
                stored[name] for name in ("ops", "archs", "seeds", "correct")
            )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise errors.UserError(f"{path} is damaged ({error})") from None
    if ops.tolist() != list(space.ops) or not np.array_equal(before, archs):
        raise errors.UserError(f"{path} is of another space; choose another --output")
    for to, seed in enumerate(seeds):
        for at in np.flatnonzero(numbers == seed):
            correct[:, to] = counts[:, at]
    return correct
