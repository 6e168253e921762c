"""Training pictures per CPU-second, against the loaders that others use.

    python -m venv peer && peer/bin/pip install torch==2.14.1 torchvision==0.29.1
    python -m benchmarks.image_input --peer_python=peer/bin/python

Everybody does RandomResizedCrop (ten tries) and the flip on the same JPEG files: full
pictures of about 467x402 pixels and 105 KB, and the copies of short side 352 and 160
that `tfdl prepare` makes. `decode` is `tf.io.decode_jpeg` of the whole files and
nothing else. The sides take turns; a figure is the median over the rounds of pictures
divided by the CPU time of all of a side's threads. `ratio_X` is ours / X, above 1 is
faster. Prints one JSON line per measurement.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.peers import Peer
from tfdl.data import resized_copies

CASES = (("full", 224), ("full", 128), ("352", 224), ("160", 128))
COUNT = 256
BATCH = 64
CLASSES = ("even", "odd")


def run(peer_python: str, repeats: int = 5, threads: int = 2) -> Iterator[dict]:
    """Yields one record per measurement.

    Args:
        peer_python: a Python that has torchvision.
        repeats: rounds, after one to warm up.
        threads: of our side; CPU time is summed over them.
    """
    peers = {
        "torchvision_float32": Peer(peer_python, "image_input_peer.py"),
        "pil_uint8": Peer(sys.executable, "image_input_peer.py"),
    }
    peers["torchvision_uint8"] = peers["torchvision_float32"]
    peers["opencv_uint8"] = peers["pil_uint8"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            write_pictures(root / "full")
            for size in (352, 160):
                style = resized_copies.Style(size)
                resized_copies.write_folder(
                    root / "full", root / str(size), style, workers=1
                )
            yield {"versions": _versions(peers), "kilobytes": _kilobytes(root)}
            yield _difference(root / "full", peers["pil_uint8"])
            for kind, size in CASES:
                yield _case(root / kind, size, peers, repeats, threads)
    finally:
        for peer in set(peers.values()):
            peer.close()


def write_pictures(folder: pathlib.Path, count: int = COUNT, seed: int = 0) -> None:
    """Writes pictures as large as ImageNet's, cut from scikit-learn's two photos.

    Grain is added, without which enlarged photos would compress far better than real
    ones.
    """
    from PIL import Image
    from sklearn import datasets

    photos = [Image.fromarray(image) for image in datasets.load_sample_images().images]
    random = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in range(count):
        width = max(200, int(random.normal(467, 90)))
        height = max(160, int(random.normal(402, 80)))
        photo = photos[i % 2]
        part = random.uniform(0.35, 0.95) * min(
            photo.width / width, photo.height / height
        )
        w, h = int(width * part), int(height * part)
        x = int(random.integers(0, photo.width - w + 1))
        y = int(random.integers(0, photo.height - h + 1))
        image = photo.resize(
            (width, height), Image.Resampling.BICUBIC, (x, y, x + w, y + h)
        )
        grain = random.normal(0, 9, (height, width, 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        path = folder / CLASSES[i % 2] / f"{i:04d}.jpg"
        Image.fromarray(pixels).save(path, quality=93)


def _case(folder, size, peers, repeats, threads) -> dict:
    sides = _our_sides(folder, size, threads)
    paths = [str(path) for path in sorted(folder.glob("*/*.jpg"))]
    for name, peer in peers.items():
        sides[name] = lambda name=name, peer=peer: peer(
            "load", side=name, paths=paths, size=size
        )["seconds"]
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, measure in sides.items():
            taken = measure()
            if turn:
                rates[name].append(COUNT / taken)
    ours = np.array(rates["ours"])
    return {
        "benchmark": f"{folder.name} -> {size}",
        "per_cpu_second": {n: round(statistics.median(r)) for n, r in rates.items()},
        **{
            f"ratio_{name}": round(float(np.median(ours / np.array(rate))), 2)
            for name, rate in rates.items()
            if name != "ours"
        },
    }


def _our_sides(folder, size, threads) -> dict[str, Callable[[], float]]:
    import tensorflow as tf

    from tfdl.data import image_folders, train_images

    source = image_folders.FolderSource(str(folder), "train")

    def rows(step):
        position = step * BATCH + tf.range(BATCH, dtype=tf.int64)
        return {"index": position % COUNT, "position": position}

    def decode(row):
        return tf.map_fn(
            # A pixel stands for the picture, which would not fit in a batch.
            lambda data: tf.io.decode_jpeg(data, channels=3)[0, 0],
            source.encoded(row["index"]),
            fn_output_signature=tf.TensorSpec([3], tf.uint8),
            parallel_iterations=1,
        )

    steps = tf.data.Dataset.range(1 << 40).map(rows)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    made = {
        "ours": train_images.training_images(
            source, steps, size, seed=0, parallel=threads
        ),
        "ours_antialias": train_images.training_images(
            source, steps, size, seed=0, parallel=threads, antialias=True
        ),
        "decode": steps.map(decode, num_parallel_calls=threads),
    }

    def seconds(iterator):
        clock = time.process_time()
        for _ in range(COUNT // BATCH):
            next(iterator)
        return _settled() - clock

    iterators = {
        name: iter(dataset.with_options(options)) for name, dataset in made.items()
    }
    return {
        name: lambda iterator=iterator: seconds(iterator)
        for name, iterator in iterators.items()
    }


def _settled() -> float:
    """Returns the CPU time once the threads that read ahead have come to rest.

    They have before a round as well, so that a round pays for what it took.
    """
    before = time.process_time()
    while True:
        time.sleep(0.2)
        now = time.process_time()
        if now - before < 0.005:
            return now
        before = now


def _difference(folder, peer) -> dict:
    """Compares our pixels of some boxes with Pillow's, before anything is timed."""
    import tensorflow as tf

    from tfdl.data import train_images

    random = np.random.default_rng(1)
    found = {True: [], False: []}
    for path in sorted(folder.glob("*/*.jpg"))[::16]:
        data = tf.constant(path.read_bytes())
        shape = tf.image.extract_jpeg_shape(data)[:2]
        corner = random.integers(0, 40, 2)
        where = np.concatenate([corner, shape.numpy() - corner - 20]).tolist()
        theirs = np.array(peer("crop", path=str(path), where=where, size=128)["pixels"])
        part = train_images.crop(True, data, shape, tf.constant(where))
        for antialias in found:
            ours = train_images.resize(part, 128, 128, antialias).numpy()
            found[antialias].append(np.abs(ours - theirs))
    return {
        "benchmark": "levels off Pillow's pixels, full -> 128, the same boxes",
        "mean": round(float(np.mean(found[False])), 2),
        "antialias_mean": round(float(np.mean(found[True])), 2),
        "antialias_largest": int(np.max(found[True])),
    }


def _versions(peers) -> dict:
    import tensorflow as tf

    ours = {"tensorflow": tf.__version__, **peers["pil_uint8"]("versions")}
    theirs = peers["torchvision_float32"]("versions")
    return {**ours, **{f"peer_{name}": value for name, value in theirs.items()}}


def _kilobytes(root: pathlib.Path) -> dict:
    return {
        folder.name: round(
            float(np.mean([p.stat().st_size for p in folder.glob("*/*.jpg")])) / 1000, 1
        )
        for folder in sorted(root.iterdir())
    }


def main() -> None:
    """Prints the records as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer_python", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for record in run(flags.peer_python, flags.repeats, flags.threads):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
