"""Three of StyleGAN's claims, measured on a small network of one's own.

    python -m benchmarks.stylegan_claims --model_dir=runs/stylegan/model \
        --data=embedded:square-digits --output=claims

1. Paths are shorter in W than in Z (section 4.1): perceptual path lengths.
2. Coarse styles carry the layout and fine ones the colours (section 3.1): w of one
   picture gets some layers of another's; how much nearer comes the mixture to the
   other, in layout and in colour? The layout is where the picture is light and dark,
   blurred and freed of its mean and contrast; the colours are the sorted values of
   every channel, whatever their places. 0 is the picture itself, 1 the other.
3. Truncation trades variety for fidelity (appendix B): density and precision, coverage
   and recall over psi, all layers truncated.

Writes `claims.json`, `claims.png` with the curve and a style-mixing sheet, and prints
the table as Markdown.
"""

import argparse
import io
import json
import pathlib

import numpy as np
from PIL import Image

import tfdl
from tfdl.engine import files
from tfdl.gan import sheets
from tfdl.models.stylegan import drawing, evaluation, figures, requests

PSIS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


def layout(images: np.ndarray) -> np.ndarray:
    """Returns where pictures are light, [N, 64], of mean 0 and length 1."""
    grey = images.mean(-1)
    count, size, _ = grey.shape
    box = size // 8
    low = grey.reshape(count, 8, box, 8, box).mean((2, 4)).reshape(count, -1)
    low = low - low.mean(1, keepdims=True)
    return low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6)


def colours(images: np.ndarray) -> np.ndarray:
    """Returns the sorted values of each channel, at 64 quantiles, [N, 64 C]."""
    count, height, width, channels = images.shape
    flat = images.reshape(count, height * width, channels)
    ranks = np.quantile(flat, (np.arange(64) + 0.5) / 64, axis=1)
    return ranks.transpose(1, 0, 2).reshape(count, -1)


def nearer(describe, mixed, own, other) -> float:
    """Returns how far mixtures went from their own pictures to the others."""
    a, b, c = describe(mixed), describe(own), describe(other)
    to_own, to_other = np.linalg.norm(a - b, axis=1), np.linalg.norm(a - c, axis=1)
    # Pairs that hardly differ say nothing.
    apart = np.linalg.norm(b - c, axis=1)
    kept = apart > np.median(apart) / 2
    return float((to_own / (to_own + to_other + 1e-9))[kept].mean())


def mixing(drawer: drawing.Drawer, pairs: int, labels) -> dict[str, dict[str, float]]:
    """Returns for each range of layers how much of layout and colours it moves."""
    draws = np.random.RandomState(0)
    z = draws.randn(2 * pairs, drawer.config.latent_size).astype(np.float32)
    rows = None if labels is None else labels(draws, 2 * pairs)
    w = drawer.styles(z, rows)
    own, other = w[:pairs], w[pairs:]
    own_pictures, other_pictures = (drawer.pictures(x, "stored") for x in (own, other))
    result = {}
    for name in figures.STYLES:
        low, high = figures.style_range(name, w.shape[1])
        mixed = own.copy()
        mixed[:, low:high] = other[:, low:high]
        pictures = drawer.pictures(mixed, "stored")
        result[f"{name} ({low}-{high - 1})"] = {
            "layout": nearer(layout, pictures, own_pictures, other_pictures),
            "colours": nearer(colours, pictures, own_pictures, other_pictures),
        }
    return result


def run(model_dir: str, data: str, samples: int, pairs: int) -> dict[str, object]:
    """Returns all measurements."""
    model = tfdl.load(model_dir)
    images, labels = requests.real_pictures(data, model.config)
    common = {"samples": samples, "batch_size": 32, "pairs": pairs}

    def measure(**changes):
        return evaluation.evaluate(model, images, labels, {**common, **changes})

    record: dict[str, object] = {"model_dir": model_dir, "data": data, **common}
    record["path_lengths"] = {
        name: measure(metrics=("ppl",), perceptual=name)
        for name in ("smallcnn", "pyramid")
    }
    drawer = drawing.Drawer(model, 32)
    draw = None
    if model.config.label_size:
        every = np.eye(model.config.label_size, dtype=np.float32)[labels]
        draw = lambda draws, n: every[draws.randint(len(every), size=n)]  # noqa: E731
    record["mixing"] = mixing(drawer, min(samples, 500), draw)
    record["truncation"] = [
        measure(metrics=("fid", "prdc"), truncation_psi=psi, neighbours=5)
        for psi in PSIS
    ]
    return record


def table(record: dict) -> str:
    """Returns the measurements as Markdown."""
    lines = ["| path length | Z | W | Z / W |", "| --- | --- | --- | --- |"]
    for name, found in record["path_lengths"].items():
        for kind in ("full", "end"):
            z, w = (found[f"ppl_{space}{kind}_{name}"] for space in "zw")
            lines.append(f"| {kind}, {name} | {z:.3g} | {w:.3g} | {z / w:.2f} |")
    lines += ["", "| styles taken over | layout | colours |", "| --- | --- | --- |"]
    for name, found in record["mixing"].items():
        lines.append(f"| {name} | {found['layout']:.2f} | {found['colours']:.2f} |")
    head = ("precision", "density", "recall", "coverage")
    lines += ["", "| psi | distance | " + " | ".join(head) + " |"]
    lines.append("| --- " * 6 + "|")
    for found in record["truncation"]:
        distance = next(v for k, v in found.items() if k.startswith(("fcd", "fid")))
        cells = " | ".join(f"{found[name]:.3f}" for name in head)
        lines.append(f"| {found['truncation_psi']:g} | {distance:.1f} | {cells} |")
    return "\n".join(lines)


def picture(record: dict, model_dir: str) -> bytes:
    """Returns the truncation curve beside a style-mixing sheet, a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.4))
    psis = [found["truncation_psi"] for found in record["truncation"]]
    for name, style in (("density", "-"), ("precision", "--")):
        left.plot(psis, [f[name] for f in record["truncation"]], style, label=name)
    for name, style in (("coverage", "-"), ("recall", "--")):
        left.plot(psis, [f[name] for f in record["truncation"]], style, label=name)
    left.set_xlabel("psi")
    left.legend()
    left.set_title("truncation")
    drawer = drawing.Drawer(tfdl.load(model_dir), 32)
    labels = None
    if drawer.config.label_size:
        labels = np.eye(drawer.config.label_size, dtype=np.float32)
        labels = labels[np.arange(11) % drawer.config.label_size]
    w = drawer.styles(drawer.latents(range(11)), labels)
    sheet = figures.mixing(drawer, w[:6], w[6:], figures.default_styles(6), factor=2)
    right.imshow(sheet)
    right.axis("off")
    right.set_title("rows: 3 take coarse styles, 2 middle ones, 1 fine ones")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return sheets.png(pixels)


def main() -> None:
    """Runs all; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--data", default="embedded:square-digits")
    parser.add_argument("--output", default="claims")
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--pairs", type=int, default=1000)
    given = parser.parse_args()
    record = run(given.model_dir, given.data, given.samples, given.pairs)
    output = pathlib.Path(given.output)
    files.atomic_write(output / "claims.json", json.dumps(record, indent=2) + "\n")
    files.atomic_write(output / "claims.png", picture(record, given.model_dir))
    print(table(record))


if __name__ == "__main__":
    main()
