"""Raw text to pretraining records, a shard at a time; vocabularies."""

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import tqdm
from ml_collections import ConfigDict

from tfdl.data import records
from tfdl.engine import command, errors, files
from tfdl.models.bert import pretraining_data as data
from tfdl.models.bert import pretraining_records, text_files
from tfdl.text.vocab import check_vocab, load_vocab, train_wordpiece
from tfdl.text.wordpiece import BertTokenizer


@dataclasses.dataclass(frozen=True)
class Shard:
    """One output file: what goes into it and how."""

    inputs: tuple[text_files.Part, ...]
    output: str
    vocab: str
    do_lower_case: bool
    settings: data.Settings

    def fingerprint(self) -> str:
        """Returns a hash of everything that the output depends on."""
        digest = hashlib.sha256(repr(dataclasses.replace(self, output="")).encode())
        for part in (*self.inputs, text_files.whole(self.vocab)):
            digest.update(text_files.state(part).encode())
        return digest.hexdigest()


def prepare(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Does what the recipe's `task` says: records, or a vocabulary.

    Raises:
        UserError: no input, a bad vocabulary, a full disk.
    """
    tasks = {
        "records": write_records,
        "vocab": learn_vocab,
        "check_vocab": report_vocab,
    }
    if config.task not in tasks:
        raise errors.unknown("task of bert's prepare", config.task, tasks)
    return tasks[config.task](config, input, output)


def write_records(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Writes `OUTPUT/pretrain-00000-of-N.tfrecord` and so on.

    With one shard the instances are the original's for the same seed. With several,
    every shard draws its random next sentences from its own documents, and the
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
    found = {shard.output: _finished(shard) for shard in shards}
    todo = [shard for shard in shards if found[shard.output] is None]
    kept = len(shards) - len(todo)
    progress = tqdm.tqdm(
        total=len(shards), initial=kept, unit="shard", file=sys.stderr, disable=None
    )
    with progress:
        for shard, count in _run(config, todo):
            found[shard.output] = count
            progress.update()
    return {
        "instances": sum(found.values()),
        "shards": len(shards),
        "kept": kept,
        "vocab": vocab,
        "output": str(folder),
    }


def learn_vocab(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Learns `OUTPUT/vocab.txt` from text; returns its size and its problems."""
    inputs = records.expand(input)
    path = pathlib.Path(output) / "vocab.txt"
    _learn(inputs, path, config.size, config.do_lower_case, config.unused)
    return report_vocab(config, str(path), "")


def report_vocab(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Returns what is wrong or doubtful about a vocabulary file."""
    del output
    rows = config.get("rows") or None
    return {
        "vocab": input,
        "tokens": len(load_vocab(input)),
        "problems": check_vocab(input, rows),
    }


def make_shard(shard: Shard) -> int:
    """Writes one shard and its marker; returns the number of instances."""
    tokenizer = BertTokenizer(load_vocab(shard.vocab), shard.do_lower_case)
    # Files end documents too.
    lines = (line for part in shard.inputs for line in (*text_files.lines(part), ""))
    documents = data.read_documents(lines, tokenizer)
    if not documents:
        names = ", ".join(part.path for part in shard.inputs)
        raise errors.UserError(f"{names[:200]}: no sentences")
    made = data.create_instances(documents, tokenizer.vocab, shard.settings)
    rows = (data.features(row, tokenizer, shard.settings) for row in made)
    count = pretraining_records.write([shard.output], rows)
    marker = {"instances": count, "fingerprint": shard.fingerprint()}
    files.atomic_write(_marker(shard), json.dumps(marker))
    return count


def _run(config, shards: list[Shard]) -> Iterator[tuple[Shard, int]]:
    """Makes shards; yields each with its number of instances."""
    if config.runner == "beam":
        from tfdl.models.bert import prepare_beam

        prepare_beam.run(shards, config.beam_options)
        yield from ((shard, _finished(shard)) for shard in shards)
        return
    if config.runner != "local":
        raise errors.unknown("runner", config.runner, ("local", "beam"))
    workers = min(config.workers or os.cpu_count() or 1, len(shards))
    if workers <= 1:
        yield from ((shard, make_shard(shard)) for shard in shards)
        return
    # TensorFlow does not survive a fork: the workers start afresh, and as quietly.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, command.start_tensorflow
    ) as pool:
        futures = {pool.submit(make_shard, shard): shard for shard in shards}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shards(config, inputs: list[str], folder: pathlib.Path, vocab: str) -> list[Shard]:
    if config.shards < 1:
        raise errors.UserError(f"shards has to be 1 or more, got {config.shards}")
    made = []
    for i, parts in enumerate(text_files.split(inputs, config.shards)):
        # One shard has the original's seed; others have one each, drawn from it.
        seed = config.random_seed
        if config.shards > 1:
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
        name = f"pretrain-{i:05d}-of-{config.shards:05d}.tfrecord"
        output = str(folder / name)
        made.append(Shard(parts, output, vocab, config.do_lower_case, settings))
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
        _learn(inputs, path, config.train_vocab, config.do_lower_case)
    problems = check_vocab(load_vocab(path))
    lacking = [problem for problem in problems if problem.startswith("lacks")]
    if lacking:
        raise errors.UserError(f"{path}: {', '.join(lacking)}")
    for problem in problems:
        print(f"warning: {path}: {problem}", file=sys.stderr)
    return str(path)


def _learn(inputs, path: pathlib.Path, size: int, lower: bool, unused=0) -> None:
    parts = [text_files.whole(name) for name in inputs]
    texts = (line for part in parts for line in text_files.lines(part))
    tokens = train_wordpiece(texts, size, lower, unused)
    files.atomic_write(path, "\n".join(tokens) + "\n")


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
