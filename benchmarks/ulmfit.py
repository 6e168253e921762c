"""ULMFiT against fastai's own modules on torch: same weights, texts and threads.

    python -m venv peer && peer/bin/pip install fastai==2.8.12 safetensors
    tfdl benchmark --model=ulmfit --peer_python=peer/bin/python

One training step of the paper's language model (400-1150-1150-400: forward, softmax
cross-entropy, AR and TAR, backward, clipping, Adam), and the classification of 64
documents, of 400 tokens each and of uneven lengths, whose words come as often as in
English (Zipf's law). fastai's loop around its modules is left out, and torch's fused
Adam takes the place of fastai's slower one. Both sides take turns, so that a change in
the machine's speed hits both. Prints one JSON line per measurement: each side's median,
and the median of the turns' ratios (fastai / ours: above 1 ours is faster), of
wall-clock and of processor seconds. Outputs are compared before anything is
timed.
"""

import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np

from benchmarks.clock import Clock, in_turns
from benchmarks.peers import Peer

SIZES = {"embedding_size": 400, "hidden_size": 1150, "num_layers": 3}
LM_RATES = {
    "input_p": 0.25,
    "output_p": 0.1,
    "weight_p": 0.2,
    "embed_p": 0.02,
    "hidden_p": 0.15,
}
CASES = ((10_000, 16), (60_000, 16), (10_000, 64), (60_000, 64))
BPTT = 70
DOCUMENTS, VOCABULARY = 64, 60_000


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: the Python that has fastai and safetensors.
        repeats: times each side is measured, in turns.
        threads: of both sides.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder)
        peer = Peer(peer_python, "ulmfit_peer.py")
        try:
            versions = peer("threads", count=threads)
            yield {"versions": {**versions, "tensorflow": tf.__version__}, **SIZES}
            for vocab_size, batch in CASES:
                yield _training(directory, peer, repeats, vocab_size, batch)
            yield from _classifying(directory, peer, repeats)
        finally:
            peer.close()


def _training(directory, peer, repeats, vocab_size, batch) -> dict:
    import tensorflow as tf

    from tfdl.engine import optimizers

    encoder = {"vocab_size": vocab_size, **SIZES, **LM_RATES}
    model = _shared(directory, {"head": "language_model", "encoder": encoder})
    peer("language_model", weights=str(directory / "theirs"), network=encoder)
    random = np.random.default_rng(0)
    ids = random.integers(2, vocab_size, [batch, BPTT + 1])
    paths = {"ids": directory / "x.npy", "labels": directory / "y.npy"}
    for path, part in zip(paths.values(), (ids[:, :-1], ids[:, 1:]), strict=True):
        np.save(path, part)
    few = ids[:2, :9]
    np.save(directory / "few.npy", few)
    expected = peer("logits", ids=str(directory / "few.npy"))["logits"]
    found = model({"token_ids": tf.constant(few, tf.int32)})["logits"][:, -1]
    gap = float(np.abs(found - np.array(expected)).max())
    assert gap < 1e-5, f"logits differ by {gap}"

    variables = [variable.value for variable in model.trainable_variables]
    optimizer = optimizers.create(
        {"name": "adam", "beta_1": 0.8, "beta_2": 0.99, "global_clip_norm": 0.3}
    )
    optimizer.build(variables, [v.path for v in model.trainable_variables])

    @tf.function
    def step(x, y, state):
        with tf.GradientTape() as tape:
            sums = model.loss_sums(x, y, state)
            regular = 2.0 * sums.ar / sums.ar_count + sums.tar / sums.tar_count
            loss = sums.ce / sums.tokens
            total = loss + regular
        optimizer.apply(tape.gradient(total, variables), variables, 4e-3)
        return loss, sums.state

    x, y = (tf.constant(part, tf.int32) for part in (ids[:, :-1], ids[:, 1:]))
    held = {"state": model.encoder.zero_state(batch)}

    def ours():
        clock = Clock()
        loss, held["state"] = step(x, y, held["state"])
        loss.numpy()
        return clock.read()

    files = {name: str(path) for name, path in paths.items()}
    sides = {"ours": ours, "fastai": lambda: peer("train", **files)}
    name = f"language model training, vocabulary {vocab_size}, batch {batch}"
    record = in_turns(name, repeats, sides)
    rates = {k: round(batch * BPTT / s) for k, s in record["seconds"].items()}
    return {**record, "tokens_per_second": rates, "logits_differ_by": gap}


def _classifying(directory, peer, repeats) -> Iterator[dict]:
    import tensorflow as tf

    head = {"num_classes": 2, "hidden": [50], "dropouts": [0.4, 0.1]}
    head |= {"bias": False, "bptt": 72, "max_len": 1440, "padding": "fastai2"}
    encoder = {"vocab_size": VOCABULARY, **SIZES}
    encoder |= dict.fromkeys(LM_RATES, 0.0)
    config = {"head": "classifier", "encoder": encoder, "classifier": head}
    model = _shared(directory, config)
    peer("classifier", weights=str(directory / "theirs"), network=encoder, head=head)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def classify(ids):
        return model({"token_ids": ids})["logits"]

    random = np.random.default_rng(0)
    # Lengths shaped like those of film reviews, the longest first as fastai sorts.
    reviews = np.clip(random.lognormal(5.3, 0.65, DOCUMENTS), 20, 1400).astype(int)
    lengths = {
        "400 tokens each": np.full(DOCUMENTS, 400),
        f"uneven, {reviews.mean():.0f} tokens on average": np.sort(reviews)[::-1],
    }
    path = str(directory / "documents.npy")
    for kind, sizes in lengths.items():
        ids = _chunked(sizes, head["bptt"], random)
        np.save(path, ids)
        tensor = tf.constant(ids, tf.int32)

        def ours(tensor=tensor):
            clock = Clock()
            classify(tensor).numpy()
            return clock.read()

        expected = np.array(peer("classify", ids=path)["logits"])
        gap = float(np.abs(classify(tensor) - expected).max())
        assert gap < 1e-5, f"logits differ by {gap}"
        sides = {"ours": ours, "fastai": lambda: peer("classify", ids=path)}
        record = in_turns(
            f"classification, {DOCUMENTS} documents, {kind}", repeats, sides
        )
        rates = {k: round(DOCUMENTS / s, 1) for k, s in record["seconds"].items()}
        yield {**record, "documents_per_second": rates, "logits_differ_by": gap}


def _chunked(sizes: np.ndarray, bptt: int, random) -> np.ndarray:
    """Returns made-up documents padded as fastai 2 does: whole chunks in front."""
    width = int(sizes.max())
    often = 1.0 / (np.arange(VOCABULARY - 2) + 2.7)
    often /= often.sum()
    ids = np.ones([len(sizes), width], np.int64)
    for row, size in zip(ids, sizes, strict=True):
        front = (width - size) // bptt * bptt
        row[front : front + size] = 2 + random.choice(len(often), size, p=often)
    return ids


def _shared(directory: pathlib.Path, config: dict):
    """Writes a random network for both sides; returns ours."""
    import tensorflow as tf

    import tfdl
    from tfdl.engine import model_dir
    from tfdl.models.ulmfit.convert import to_original
    from tfdl.models.ulmfit.model import build_model

    tf.keras.utils.set_random_seed(0)
    config = {"model": "ulmfit", "generation": "v2", **config}
    model_dir.save(directory / "ours", config, build_model(config))
    to_original(directory / "ours", directory / "theirs")
    return tfdl.load(str(directory / "ours"))
