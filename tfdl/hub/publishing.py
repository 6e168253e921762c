"""From a model directory or a SavedModel to published modules."""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import NamedTuple

from tfdl.engine import errors, exports, files, model_dir, registry
from tfdl.hub import archives, documentation, folder, interface, kaggle
from tfdl.hub.handles import Handle
from tfdl.serving import description, saved_model

NO_OUTPUTS = {"": "what the model's own documentation says"}


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say about all modules of one publication.

    Attributes:
        handle: the main module's.
        base_url: the address that the registry folder is served at.
        variation: Kaggle's name for this variant of the model.
        changes: fields of the card to set.
        license: TF Hub's tag; "" says nothing.
    """

    handle: Handle
    base_url: str = ""
    variation: str = ""
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    license: str = ""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A SavedModel to publish.

    Attributes:
        suffix: what its name has after the main module's, "" for the main one.
        folder: the SavedModel.
        card: what the model says of it.
        metrics: measured.
    """

    suffix: str
    folder: pathlib.Path
    card: exports.Card
    metrics: Mapping[str, float | str]


def from_model_dir(directory: files.PathLike, scratch: pathlib.Path) -> list[Candidate]:
    """Writes the modules of a model directory below a scratch folder."""
    config = model_dir.read_config(directory)
    metrics = description.metrics(directory)
    export = registry.load(config["model"], "export")
    if hasattr(export, "hub_modules"):
        modules = export.hub_modules(directory)
    else:
        root, signatures = export.serving_module(directory)
        modules = {"": exports.Module(root, export.card(directory), signatures)}
    candidates = []
    for suffix, module in modules.items():
        target = scratch / (suffix or "main")
        saved_model.write(target, module.root, module.signatures)
        # A generator is measured though nothing of it is left to train; what prepares
        # inputs for the main module is not.
        measured = metrics if module.card.fine_tunable or not suffix else {}
        candidates.append(Candidate(suffix, target, module.card, measured))
    return candidates


def from_saved_model(
    path: files.PathLike, scratch: pathlib.Path, task: str
) -> list[Candidate]:
    """Returns the module in a SavedModel's folder or .tar.gz.

    Args:
        path: the version folder or the archive.
        scratch: where an archive is unpacked.
        task: TF Hub's tag, for a SavedModel that tfdl did not write.

    Raises:
        UserError: no SavedModel there, or nothing says what it does.
    """
    path = pathlib.Path(path)
    if path.is_file():
        target = scratch / "main"
        target.mkdir()
        archives.unpack(path, target)
        path = target
    if not (path / "saved_model.pb").is_file():
        versions = [p.name for p in path.glob("*") if p.name.isdigit()]
        hint = ""
        if versions:
            hint = f"; did you mean {path / max(versions, key=int)}?"
        raise errors.UserError(f"{path} holds no saved_model.pb{hint}")
    found = description.read(path)
    if found is None and not task:
        raise errors.UserError(
            f"{path} was not written by `tfdl export`: say what it does with --task, "
            "e.g. --task=text-embedding"
        )
    if found is None:
        card = exports.Card("A model.", task, NO_OUTPUTS, NO_OUTPUTS, "")
        return [Candidate("", path, card, {})]
    return [Candidate("", path, found.card, found.metrics)]


def pages(candidates: list[Candidate], options: Options) -> dict[str, str]:
    """Returns the documentation of every candidate, by suffix.

    Raises:
        UserError: one of them is no Reusable SavedModel.
    """
    addresses, assets = {}, {}
    for candidate in candidates:
        handle = options.handle.with_suffix(candidate.suffix)
        if options.variation:
            address = kaggle.address(handle, options.variation)
            assets[candidate.suffix] = address
        else:
            address = f"{options.base_url}/{handle}"
            assets[candidate.suffix] = f"{address}.tar.gz"
        addresses[candidate.suffix] = address
    result = {}
    found = {c.suffix: interface.inspect(c.folder) for c in candidates}
    for candidate in candidates:
        facts = found[candidate.suffix]
        card = dataclasses.replace(
            candidate.card,
            **{name: value for name, value in options.changes.items() if value},
            fine_tunable=candidate.card.fine_tunable and facts.trainable > 0,
        )
        result[candidate.suffix] = documentation.write(
            documentation.Page(
                handle=options.handle.with_suffix(candidate.suffix),
                card=card,
                interface=facts,
                metrics=candidate.metrics,
                asset_path=assets[candidate.suffix],
                needs_text=any(one.uses_text for one in found.values()),
                addresses=addresses,
                suffix=candidate.suffix,
                license=options.license,
            )
        )
    return result


class _Entry(NamedTuple):
    """What is published: `name` in the scratch folder, `handle` for the world."""

    name: str
    folder: pathlib.Path
    handle: Handle
    page: str


def _entries(candidates: list[Candidate], options: Options) -> list[_Entry]:
    texts = pages(candidates, options)
    return [
        _Entry(
            candidate.suffix or "main",
            candidate.folder,
            options.handle.with_suffix(candidate.suffix),
            texts[candidate.suffix],
        )
        for candidate in candidates
    ]


def to_folder(
    root: pathlib.Path,
    scratch: pathlib.Path,
    candidates: list[Candidate],
    options: Options,
    dry_run: bool,
) -> list[dict[str, object]]:
    """Publishes all candidates in a registry folder; returns a record of each."""
    entries, packed = _entries(candidates, options), []
    for entry in entries:
        archive = scratch / f"{entry.name}.tar.gz"
        archives.pack(entry.folder, archive)
        folder.check_free(root, entry.handle, archive)
        packed.append(archive)
    records = []
    for entry, archive in zip(entries, packed, strict=True):
        record: dict[str, object] = {
            "handle": str(entry.handle),
            "address": f"{options.base_url}/{entry.handle}",
            "sha256": archives.sha256(archive),
            "bytes": archive.stat().st_size,
        }
        if dry_run:
            where = folder.paths(root, entry.handle)
            record |= {name: str(path) for name, path in where.items()}
        else:
            record |= folder.add(root, entry.handle, archive, entry.page)
        records.append(record)
    return records


def to_kaggle(
    scratch: pathlib.Path,
    candidates: list[Candidate],
    options: Options,
    dry_run: bool,
) -> list[dict[str, object]]:
    """Uploads all candidates to Kaggle Models; returns a record of each."""
    records = []
    for entry in _entries(candidates, options):
        upload = scratch / f"upload-{entry.name}"
        shutil.copytree(entry.folder, upload)
        (upload / "README.md").write_text(entry.page, encoding="utf-8")
        send = kaggle.describe if dry_run else kaggle.upload
        records.append(send(upload, entry.handle, options.variation, options.license))
    return records
