"""Pictures and videos of a StyleGAN, and the figures of its paper.

    tfdl predict --model_dir=ffhq --num_samples=16 --seed=0 --output=faces.png
    tfdl predict --model_dir=ffhq --option=figure=mixing --output=mixing.png
    tfdl predict --model_dir=ffhq --option=figure=interpolation --output=walk.mp4
    tfdl predict --model_dir=ffhq --option=figure=projection --input=me.png --output=me/

A picture is a function of its seed: the same alone and among others.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tfdl
from tfdl.engine import errors, files
from tfdl.engine.prediction import Request
from tfdl.gan import interpolation, sheets, video
from tfdl.models.stylegan import drawing, figures, requests

WRITES_FILES = True
COMMON = ("figure", "seeds", "noise", "cutoff", "batch_size", "enlarge")
OPTIONS = {
    "samples": ("lod", "size", "columns", "crop", "save_w"),
    "mixing": ("source_seeds", "styles"),
    "truncation": ("psis",),
    "noise": ("noise_samples",),
    "interpolation": ("space", "steps", "rate", "columns", "crop"),
    "projection": ("space", "steps", "distance", "data"),
}


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Makes pictures and writes them to `--output`; yields a record of each file.

    `--output` is a .png (a sheet), a .mp4 (interpolation), or a folder, where every
    picture also gets a file of its own. `--truncation` is psi, by default the model's
    own; `--labels` classes by number or name. Each model's page has the options.

    Raises:
        UserError: an unknown option or figure, a number out of range, a missing file.
    """
    figure = request.option("figure", "samples", tuple(OPTIONS))
    request.check_options(*COMMON, *OPTIONS[figure])
    target = requests.target_of(request, figure)
    requests.psi_of(request)  # wrong numbers are told before anything is loaded
    seeds = requests.seeds_of(request, figure)
    model = tfdl.load(str(request.model_dir))
    drawer = drawing.Drawer(model, request.number("batch_size", 8))
    yield from FIGURES[figure](request, drawer, seeds, target)


# --- figures -----------------------------------------------------------------------


def _samples(request, drawer, seeds, target) -> Iterator[dict[str, Any]]:
    w, seeds = requests.styles_of(request, drawer, seeds)
    lod, native = requests.detail_of(request, drawer)
    kind = requests.noise_kind(request, "fresh")
    pictures = drawer.pictures(w, drawer.noise(kind, seeds), lod=lod, native=native)
    pictures = requests.cropped(request, pictures)
    pictures = sheets.enlarge(pictures, request.number("enlarge", 1))
    columns = request.number("columns", math.ceil(math.sqrt(len(pictures))))
    facts = {"noise": kind}
    if not request.input:
        facts["truncation_psi"] = requests.psi_used(request, drawer)
    if target.folder:
        for i, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
            name = f"w{i:04d}.png" if request.input else f"seed{seed:04d}.png"
            path = files.atomic_write(
                target.path / name, sheets.png(picture), durable=False
            )
            yield {"file": str(path), "seed": seed, **facts}
    sheet = sheets.png(sheets.tile(pictures, columns))
    path = files.atomic_write(target.file("samples.png"), sheet)
    yield {"file": str(path), "seeds": seeds, **facts}
    if request.option("save_w", "false", ("true", "false")) == "true":
        path = requests.save(target.file("w.npy"), w)
        yield {"file": str(path), "shape": list(w.shape)}


def _mixing(request, drawer, seeds, target) -> Iterator[dict[str, Any]]:
    sources = requests.numbers(request, "source_seeds", requests.SOURCES)
    styles = request.options.get("styles")
    rows = styles.split(",") if styles else figures.default_styles(len(seeds))
    if len(rows) not in (1, len(seeds)):
        raise errors.UserError(
            f"--option=styles names {len(rows)} rows, there are {len(seeds)}: one is "
            "needed, or one for each"
        )
    rows = rows * len(seeds) if len(rows) == 1 else rows
    psi = request.truncation  # the original's figure is not truncated
    into, source = (
        drawer.truncate(
            drawer.styles(drawer.latents(some), requests.labels_of(request, len(some))),
            psi,
            None if psi is None else requests.cutoff_of(request, drawer),
        )
        for some in (seeds, sources)
    )
    noise = requests.noise_kind(request, "stored")
    factor = requests.factor_of(request, drawer)
    sheet = figures.mixing(drawer, into, source, rows, noise, request.seed, factor)
    path = files.atomic_write(target.file("mixing.png"), sheets.png(sheet))
    yield {"file": str(path), "rows": list(seeds), "columns": sources, "styles": rows}


def _truncation(request, drawer, seeds, target) -> Iterator[dict[str, Any]]:
    text = request.options.get("psis")
    psis = (
        [requests.finite("psis", x) for x in text.split(",")] if text else figures.PSIS
    )
    w = drawer.styles(drawer.latents(seeds), requests.labels_of(request, len(seeds)))
    factor = requests.factor_of(request, drawer)
    sheet = figures.truncation(drawer, w, seeds, psis, factor)
    path = files.atomic_write(target.file("truncation.png"), sheets.png(sheet))
    yield {"file": str(path), "seeds": list(seeds), "psis": list(psis)}


def _noise(request, drawer, seeds, target) -> Iterator[dict[str, Any]]:
    w, seeds = requests.styles_of(request, drawer, seeds)
    samples = request.number("noise_samples", 100)
    factor = requests.factor_of(request, drawer)
    sheet = figures.noise_effects(drawer, w, seeds, samples, factor)
    path = files.atomic_write(target.file("noise.png"), sheets.png(sheet))
    yield {"file": str(path), "seeds": seeds, "noise_samples": samples}


def _interpolation(request, drawer, seeds, target) -> Iterator[dict[str, Any]]:
    space = request.option("space", "w", ("w", "z"))
    steps, rate = request.number("steps", 30), request.number("rate", 30)
    w, seeds = _walk(request, drawer, seeds, space, steps)
    kind = requests.noise_kind(request, "fixed")

    def frames():
        for start in range(0, len(w), drawer.batch_size):
            part = w[start : start + drawer.batch_size]
            own = [request.seed + start + i for i in range(len(part))]
            chosen = own if kind == "fresh" else [request.seed] * len(part)
            pictures = drawer.pictures(part, drawer.noise(kind, chosen))
            pictures = requests.cropped(request, pictures)
            yield from sheets.enlarge(pictures, request.number("enlarge", 1))

    path = target.file("interpolation.mp4")
    if path.suffix == ".png":
        whole = sheets.tile(np.stack(list(frames())), request.number("columns", steps))
        files.atomic_write(path, sheets.png(whole))
    else:
        video.write(path, frames(), rate)
    yield {"file": str(path), "frames": len(w), "space": space, "seeds": seeds}


def _walk(request, drawer, seeds, space, steps) -> tuple[np.ndarray, list[int]]:
    """Returns w [N * steps, L, D] of a closed way, and the seeds on it."""
    if request.input and space == "z":
        raise errors.UserError("--option=space=z walks from seeds, not from --input")
    if request.input or space == "w":
        w, seeds = requests.styles_of(request, drawer, seeds)
        walk = w
    else:
        walk = drawer.latents(seeds)
    if len(walk) < 2:
        raise errors.UserError(
            "an interpolation needs 2 pictures or more to walk between"
        )
    walk = interpolation.path(walk, steps, arc=space == "z")
    if space == "z":
        labels = requests.labels_of(request, len(seeds))
        labels = None if labels is None else interpolation.path(labels, steps)
        walk = drawer.styles(walk, labels)
        walk = drawer.truncate(walk, *requests.truncation_of(request, drawer))
    return walk, seeds


def _projection(request, drawer, _seeds, target) -> Iterator[dict[str, Any]]:
    from tfdl.metrics.generative import perceptual, small_cnn
    from tfdl.models.stylegan import projection

    config = drawer.config
    image = requests.picture_of(request.input, config.resolution, config.num_channels)
    spec = request.options.get("distance", "pyramid")
    network = None
    if spec == "smallcnn":
        if "data" not in request.options:
            raise errors.UserError(
                "--option=distance=smallcnn learns from pictures: give them by "
                "--option=data=SOURCE, or take distance=pyramid or lpips:PATH"
            )
        real, labels = requests.real_pictures(request.options["data"], config)
        network = small_cnn.trained(real, labels)
    distance = perceptual.open_distance(spec, network)
    found = projection.project(
        drawer,
        image.astype(np.float32) / 127.5 - 1,
        distance,
        request.option("space", "w+", projection.SPACES),
        request.number("steps", 300),
        request.seed,
        requests.labels_of(request, 1),
    )
    start, end = sheets.to_uint8(found.start), sheets.to_uint8(found.image)
    sheet = sheets.sheet(
        [[image, start, end]],
        column_labels=["given", "average", "projected"],
        gap=2,
        factor=requests.factor_of(request, drawer),
    )
    path = files.atomic_write(target.file("projection.png"), sheets.png(sheet))
    saved = requests.save(path.with_suffix(".npy"), found.w[None])
    yield {
        "file": str(path),
        "w": str(saved),
        "shape": [1, *found.w.shape],
        "distance": distance.name,
        "distance_sha256": distance.sha256,
        "before": round(found.before, 6),
        "after": round(found.after, 6),
    }


FIGURES: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "samples": _samples,
    "mixing": _mixing,
    "truncation": _truncation,
    "noise": _noise,
    "interpolation": _interpolation,
    "projection": _projection,
}
