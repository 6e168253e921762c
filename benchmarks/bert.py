"""BERT against transformers on torch: same weights, texts and threads, in one run.

    python -m venv peer && peer/bin/pip install torch==2.13.0 transformers==5.24.0
    tfdl benchmark --model=bert --peer_python=peer/bin/python

Both sides take turns, so that a change in the machine's speed hits both. Prints one
JSON line per measurement: each side's median, and the median of the turns' ratios
(other / ours: above 1 ours is faster), of wall-clock and of processor seconds. On a
busy machine --threads=1 and processor seconds tell more: torch's threads spin while
they wait. Outputs are compared before anything is timed. Sentences are real:
`tfdl prepare --dataset=minilm` and `--dataset=vader-movie` bring the weights and the
texts; without them that measurement is left out.
"""

import pathlib
import resource
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.clock import Clock, in_turns
from benchmarks.peers import Peer

VOCAB_SIZE = 30522
SIZE = {"num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8}
BATCH = 16
ROWS = 256  # examples of an epoch


def lengths(kind: str, count: int, seed: int = 0) -> np.ndarray:
    """Draws sequence lengths shaped like a data set's, at most 128.

    MNLI-like: mean about 39 tokens; SQuAD-like: mean about 96; mixed: both.
    """
    random = np.random.default_rng(seed)
    mnli = np.clip(random.lognormal(3.55, 0.45, count), 8, 128)
    squad = np.clip(random.normal(100, 28, count), 24, 128)
    if kind == "mixed":
        mnli[::4] = squad[::4]
    return (squad if kind == "squad" else mnli).astype(int)


def rows_of(sizes: np.ndarray, seed: int = 1) -> list[list[int]]:
    """Returns made-up token ids of the given lengths."""
    random = np.random.default_rng(seed)
    return [
        [101, *random.integers(1000, VOCAB_SIZE, size - 2).tolist(), 102]
        for size in sizes
    ]


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: the Python that has torch and transformers.
        repeats: times each side is measured, in turns.
        threads: of both sides.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from tfdl.models.bert import convert

    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder)
        ours = _save(directory / "ours")
        convert.to_original(directory / "ours", directory / "theirs")
        peer = Peer(peer_python, "bert_peer.py")
        try:
            versions = peer(
                "load", folder=str(directory / "theirs"), threads=threads, labels=3
            )
            yield {"versions": {**versions, "tensorflow": tf.__version__}, **SIZE}
            yield from _inference(ours, peer, repeats)
            yield from _training(directory / "ours", peer, repeats)
            yield from _pretraining(directory / "ours", peer, repeats)
            yield from _tokenizing(directory / "ours", peer, repeats)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            megabytes = {"ours": peak, "transformers": peer("memory")["peak_mb"]}
            yield {"benchmark": "peak memory so far", "megabytes": megabytes}
            yield from _sentences(peer, repeats, directory)
        finally:
            peer.close()


def _save(directory):
    """Writes a classifier with random weights; returns the loaded model."""
    import tfdl
    from tfdl.engine import model_dir
    from tfdl.models.bert.config import BertConfig
    from tfdl.models.bert.model import build_model

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = [a + b for a in letters for b in letters]
    words = [*letters, *pairs, *(a + b for a in pairs for b in letters)]
    words += [f"##{word}" for word in words]
    vocab = [f"[unused{i}]" for i in range(VOCAB_SIZE)]
    vocab[: len(specials)] = specials
    vocab[1000 : 1000 + len(words)] = words[: VOCAB_SIZE - 1000]
    config = {
        "model": "bert",
        "head": "classification",
        "encoder": BertConfig(VOCAB_SIZE, intermediate_size=2048, **SIZE).to_dict(),
        "head_config": {"labels": ["a", "b", "c"]},
        "tokenizer": {"do_lower_case": True, "vocab": "vocab.txt"},
        "max_seq_length": 128,
    }
    text = "\n".join(vocab) + "\n"
    model_dir.save(directory, config, build_model(config), {"vocab.txt": text})
    return tfdl.load(str(directory))


def _inference(model, peer, repeats) -> Iterator[dict]:
    import tensorflow as tf

    from tfdl.models.bert.base import inputs
    from tfdl.models.bert.finetune import Rows, run_rows

    strategy = tf.distribute.get_strategy()

    def logits(batch):
        return {"logits": model(inputs(batch), first_token_only=True)["logits"]}

    for kind in ("mixed", "mnli"):
        rows = rows_of(lengths(kind, ROWS))
        made = Rows([{"token_ids": r, "segment_ids": [0] * len(r)} for r in rows])

        def ours(made=made):
            clock = Clock()
            ours.result = run_rows(strategy, made, logits, BATCH)
            return clock.read()

        def theirs(rows=rows):
            answer = peer("infer", rows=rows, batch_size=BATCH)
            theirs.result = answer["logits"]
            return answer

        record = in_turns(
            f"inference, {kind} lengths",
            repeats,
            {"ours": ours, "transformers": theirs},
        )
        found = np.stack([row["logits"] for row in ours.result])
        difference = np.abs(found - np.array(theirs.result)).max()
        yield {**record, "largest_difference": float(difference)}


def _learner(directory, task: str, changes: dict):
    """Returns (task, learner) on a model directory, ready to train."""
    import tensorflow as tf

    from tfdl.engine import runs
    from tfdl.engine.learner import Learner
    from tfdl.models.bert import recipes

    config = getattr(recipes, task)()
    with config.unlocked():
        config.init_from = str(directory)
        config.precision = "float32"
        for name, value in changes.items():
            config[name] = value
    made = runs.create_task(config, pathlib.Path(directory))
    return made, config, tf.distribute.get_strategy(), Learner


def _training(directory, peer, repeats) -> Iterator[dict]:
    labels = np.random.default_rng(2).integers(0, 3, ROWS)
    for kind in ("mnli", "squad"):
        rows = rows_of(lengths(kind, ROWS))

        def theirs(width, rows=rows):
            request = {"rows": rows, "labels": labels.tolist(), "batch_size": BATCH}
            return peer("train", width=width, **request)

        sides = {
            "ours": _epoch(directory, rows, labels),
            "transformers_pad_128": lambda: theirs(128),
            "transformers_dynamic": lambda: theirs(0),
        }
        if kind == "squad":
            sides["ours_unpad"] = _epoch(directory, rows, labels, unpad=True)
        yield in_turns(f"training epoch, {kind}-like lengths", repeats, sides)
    rows = rows_of(np.full(4 * BATCH, 128))
    labels = labels[: len(rows)]

    def fixed():
        request = {"rows": rows, "labels": labels.tolist(), "batch_size": BATCH}
        return peer("train", width=128, **request)

    sides = {
        "ours": _epoch(directory, rows, labels),
        "ours_with_xla": _epoch(directory, rows, labels, xla=True),
        "transformers": fixed,
    }
    yield in_turns("training, 4 steps of 16 x 128, no padding", repeats, sides)


def _epoch(directory, rows, labels, **changes) -> Callable[[], float]:
    """Returns a function that trains a classifier for one epoch and times it."""
    from tfdl.engine import distribution
    from tfdl.models.bert.finetune import Rows

    changes = {"batch_size": BATCH, "epochs": 1.0, **changes}
    task, config, strategy, learner_class = _learner(
        directory, "classification", changes
    )
    task.head, task.labels = "classification", ["a", "b", "c"]
    task.head_config = {"labels": task.labels}
    task.load_encoder()
    made = [{"token_ids": r, "segment_ids": [0] * len(r)} for r in rows]
    task.rows = Rows(made, {"labels": labels.astype(np.int32)})
    learner = learner_class(task, strategy, config)
    phase = task.phases()[0]
    data = task.train_data(phase, 0, distribution.Shard())
    step = learner.train_function(phase)

    def run():
        iterator = iter(distribution.distribute(strategy, data))
        clock = Clock()
        step(iterator, 0, phase.steps)
        return clock.read()

    return run


def _pretraining(directory, peer, repeats) -> Iterator[dict]:
    import tensorflow as tf

    from tfdl.engine.phases import Phase

    rows = rows_of(np.full(BATCH, 128))
    random = np.random.default_rng(3)
    positions = [sorted(random.choice(range(1, 127), 20, False).tolist()) for _ in rows]
    labels = [
        [row[p] for p in where] for row, where in zip(rows, positions, strict=True)
    ]
    batch = {
        "token_ids": tf.constant(rows, tf.int32),
        "segment_ids": tf.zeros([BATCH, 128], tf.int32),
        "padding_mask": tf.ones([BATCH, 128], tf.int32),
        "masked_positions": tf.constant(positions, tf.int32),
        "masked_ids": tf.constant(labels, tf.int32),
        "masked_weights": tf.ones([BATCH, 20]),
        "next_sentence_labels": tf.zeros([BATCH], tf.int32),
    }
    data = tf.data.Dataset.from_tensors(batch).repeat()

    def ours(xla):
        task, config, strategy, learner_class = _learner(
            directory, "pretraining", {"xla": xla}
        )
        task.load_encoder()
        task.max_seq_length = lambda: 128
        phase = Phase("pretrain", 4, BATCH, lambda step: tf.constant(1e-5))
        step = learner_class(task, strategy, config).train_function(phase)

        def run():
            clock = Clock()
            step(iter(data), 0, 4)
            return clock.read()

        return run

    def theirs():
        request = {"rows": rows, "positions": positions, "labels": labels}
        return peer("pretrain", steps=4, **request)

    sides = {"ours": ours(False), "ours_with_xla": ours(True), "transformers": theirs}
    yield in_turns("pretraining, 4 steps of 16 x 128", repeats, sides)


def _tokenizing(directory, peer, repeats) -> Iterator[dict]:
    import tensorflow as tf

    from tfdl.data import topics
    from tfdl.engine import model_dir
    from tfdl.text.graph import GraphBertTokenizer
    from tfdl.text.vocab import load_vocab

    texts = [s for document in topics.documents() for s in document]
    vocab = load_vocab(model_dir.asset(directory, "vocab.txt"))
    tokenizer = GraphBertTokenizer(vocab)
    tokenize = tf.function(
        tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    batch = tf.constant(texts)

    def ours():
        clock = Clock()
        ours.result = tokenize(batch).flat_values.numpy()
        return clock.read()

    def theirs():
        answer = peer("tokenize", texts=texts)
        theirs.result = [i for row in answer["ids"] for i in row]
        return answer

    record = in_turns("tokenizing the embedded corpus", repeats, {
        "ours": ours, "transformers": theirs,
    })  # fmt: skip
    yield {**record, "identical": bool(np.array_equal(ours.result, theirs.result))}


def _sentences(peer, repeats, directory) -> Iterator[dict]:
    """Raw film reviews to vectors, by a published model: tokenizing included."""
    import tensorflow as tf

    import tfdl
    from tfdl.data import fetching
    from tfdl.engine import errors, model_dir
    from tfdl.models.bert import features
    from tfdl.models.bert.base import inputs
    from tfdl.models.bert.finetune import Rows, run_rows
    from tfdl.text.vocab import load_vocab
    from tfdl.text.wordpiece import BertTokenizer

    try:
        weights = fetching.fetch("minilm", offline=True)
        reviews = fetching.fetch("vader-movie", offline=True)
    except errors.UserError as error:
        yield {"benchmark": "sentences to vectors", "skipped": str(error)}
        return
    file = reviews / "movieReviewSnippets_GroundTruth.txt"
    lines = file.read_text(encoding="latin-1").splitlines()
    texts = [line.split("\t")[2] for line in lines][:1000]
    folder = directory / "minilm"
    tfdl.convert("bert", str(weights), str(folder))
    model = tfdl.load(str(folder))
    vocab = load_vocab(model_dir.asset(folder, "vocab.txt"))

    def vectors(batch):
        found = model(inputs(batch))["sequence_output"]
        mask = tf.cast(batch["padding_mask"], tf.float32)[:, :, None]
        mean = tf.reduce_sum(found * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1.0)
        return {"vector": mean}

    def ours():
        clock = Clock()
        tokenizer = BertTokenizer(vocab)
        rows = Rows([features.convert(x, None, tokenizer, 256) for x in texts])
        ours.result = run_rows(tf.distribute.get_strategy(), rows, vectors, 32)
        return clock.read()

    def theirs():
        answer = peer("sentences", folder=str(weights), texts=texts, batch_size=32)
        theirs.result = answer["vectors"]
        return answer

    record = in_turns("sentences to vectors, 1000 film reviews", repeats, {
        "ours": ours, "transformers": theirs,
    })  # fmt: skip
    found = np.stack([row["vector"] for row in ours.result])
    difference = float(np.abs(found - np.array(theirs.result)).max())
    yield {**record, "largest_difference": difference}
