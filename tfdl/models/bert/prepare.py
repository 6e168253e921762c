"""Raw text to pretraining records, a shard at a time, on all cores."""

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import sys
from typing import Any

import tqdm
from ml_collections import ConfigDict

from tfdl.data import records
from tfdl.engine import errors, files
from tfdl.models.bert import pretraining_data as data
from tfdl.models.bert import pretraining_records
from tfdl.text.vocab import check_vocab, load_vocab, train_wordpiece
from tfdl.text.wordpiece import BertTokenizer


@dataclasses.dataclass(frozen=True)
class Shard:
    """One output file: what goes into it and how."""

    inputs: tuple[str, ...]
    output: str
    vocab: str
    do_lower_case: bool
    settings: data.Settings

    def fingerprint(self) -> str:
        """Returns a hash of everything that the output depends on."""
        digest = hashlib.sha256(repr(dataclasses.replace(self, output="")).encode())
        for path in (*self.inputs, self.vocab):
            state = os.stat(path)
            digest.update(f"{path} {state.st_size} {state.st_mtime_ns}".encode())
        return digest.hexdigest()


def prepare(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Writes `OUTPUT/pretrain-00000-of-N.tfrecord` and so on.

    With one shard the instances are the original's for the same seed. With several,
    every shard draws its random next sentences from its own input files, and the
    result does not depend on the number of workers. Finished shards of an
    interrupted call are kept.

    Args:
        config: the recipe `prepare`.
        input: comma-separated globs of text files: a sentence per line, blank lines
            between documents.
        output: the folder.

    Returns:
        `instances`, `shards`, `kept` (shards that were there already), `vocab`.

    Raises:
        UserError: no input, a bad vocabulary, a shard with no document, a full disk.
    """
    inputs = records.expand(input)
    folder = pathlib.Path(output)
    vocab = _vocabulary(config, inputs, folder)
    shards = _shards(config, inputs, folder, vocab)
    workers = min(config.workers or os.cpu_count() or 1, len(shards))
    counts, kept = [], 0
    todo = []
    for shard in shards:
        count = _finished(shard)
        if count is None:
            todo.append(shard)
        else:
            counts.append(count)
            kept += 1
    progress = tqdm.tqdm(
        total=len(shards), initial=kept, unit="shard", file=sys.stderr, disable=None
    )
    with progress:
        for count in _run(todo, workers):
            counts.append(count)
            progress.update()
    return {
        "instances": sum(counts),
        "shards": len(shards),
        "kept": kept,
        "vocab": vocab,
        "output": str(folder),
    }


def make_shard(shard: Shard) -> int:
    """Writes one shard and its marker; returns the number of instances."""
    tokenizer = BertTokenizer(load_vocab(shard.vocab), shard.do_lower_case)
    lines: list[str] = []
    for path in shard.inputs:
        lines += [*files.read_text(path).splitlines(), ""]
    documents = data.read_documents(lines, tokenizer)
    if not documents:
        raise errors.UserError(f"{', '.join(shard.inputs)[:200]}: no sentences")
    made = data.create_instances(documents, tokenizer.vocab, shard.settings)
    rows = (data.features(row, tokenizer, shard.settings) for row in made)
    count = pretraining_records.write([shard.output], rows)
    marker = {"instances": count, "fingerprint": shard.fingerprint()}
    files.atomic_write(_marker(shard), json.dumps(marker))
    return count


def _run(shards: list[Shard], workers: int):
    if workers <= 1 or len(shards) <= 1:
        yield from map(make_shard, shards)
        return
    # TensorFlow does not survive a fork: the workers start afresh.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        futures = [pool.submit(make_shard, shard) for shard in shards]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shards(config, inputs: list[str], folder: pathlib.Path, vocab: str) -> list[Shard]:
    count = min(config.shards or 1, len(inputs)) if config.shards else 1
    if config.shards > len(inputs):
        raise errors.UserError(
            f"shards={config.shards}, but only {len(inputs)} input files: a shard is "
            "made from whole files"
        )
    made = []
    for i in range(count):
        # One shard has the original's seed; others have one each, drawn from it.
        seed = config.random_seed
        if count > 1:
            seed = random.Random(f"{config.random_seed}/{i}").getrandbits(31)
        settings = data.Settings(
            max_seq_length=config.max_seq_length,
            max_predictions_per_seq=config.max_predictions_per_seq,
            random_seed=seed,
            dupe_factor=config.dupe_factor,
            masked_lm_prob=config.masked_lm_prob,
            short_seq_prob=config.short_seq_prob,
            do_whole_word_mask=config.do_whole_word_mask,
        )
        output = folder / f"pretrain-{i:05d}-of-{count:05d}.tfrecord"
        part = tuple(inputs[i::count])
        made.append(Shard(part, str(output), vocab, config.do_lower_case, settings))
    return made


def _vocabulary(config, inputs: list[str], folder: pathlib.Path) -> str:
    """Returns the vocabulary's path, after learning it if that was asked for."""
    if not config.vocab and not config.train_vocab:
        raise errors.UserError(
            "a vocabulary is needed: --config.vocab=vocab.txt, or "
            "--config.train_vocab=30000 to learn one from the input"
        )
    path = pathlib.Path(config.vocab or folder / "vocab.txt")
    if not config.vocab and not path.exists():
        texts = (line for name in inputs for line in files.read_text(name).splitlines())
        tokens = train_wordpiece(texts, config.train_vocab, config.do_lower_case)
        files.atomic_write(path, "\n".join(tokens) + "\n")
    problems = check_vocab(load_vocab(path))
    lacking = [problem for problem in problems if problem.startswith("lacks")]
    if lacking:
        raise errors.UserError(f"{path}: {', '.join(lacking)}")
    for problem in problems:
        print(f"warning: {path}: {problem}", file=sys.stderr)
    return str(path)


def _marker(shard: Shard) -> pathlib.Path:
    return pathlib.Path(f"{shard.output}.json")


def _finished(shard: Shard) -> int | None:
    """Returns the instances of a shard that is there already, else None."""
    marker = _marker(shard)
    if not (marker.is_file() and pathlib.Path(shard.output).is_file()):
        return None
    try:
        state = json.loads(marker.read_text(encoding="utf-8"))
        if state["fingerprint"] == shard.fingerprint():
            return int(state["instances"])
    except (ValueError, KeyError, TypeError):
        pass
    return None
