"""The pictures of a run: of every folder that a schedule names, opened once."""

import pathlib

from ml_collections import ConfigDict

from tfdl.data import image_sources
from tfdl.engine import errors


class Pictures:
    """Opens `config.data` with the folders of a schedule's phases.

    Args:
        config: the run's: `data`, `validation_data`, `resized_copies`, `on_bad`.
    """

    def __init__(self, config: ConfigDict):
        self._config = config
        self._opened: dict[tuple[str, str], image_sources.ImageSource] = {}
        self.classes: tuple[str, ...] = ()

    def spec(self, folder: str, split: str) -> str:
        """Returns what `open_source` opens for a phase's folder, such as `-sz/160`."""
        config = self._config
        spec = config.data
        if split == "validation":
            spec = config.validation_data or spec
        form, _, rest = spec.partition(":")
        if not folder or not config.resized_copies or form == "embedded":
            return spec
        if form == "folder":
            return f"{form}:{rest.rstrip('/')}{folder}"
        if form == "tfrecord":
            place = pathlib.PurePath(rest)
            return f"{form}:{place.parent}{folder}/{place.name}"
        raise errors.UserError(
            f"{spec} has no resized copies {folder!r}; --config.resized_copies=false "
            "takes the pictures as they are"
        )

    def open(self, folder: str, split: str) -> image_sources.ImageSource:
        """Returns the pictures of a phase's folder and a split.

        Raises:
            UserError: they are not there, or not of the known classes.
        """
        spec, config = self.spec(folder, split), self._config
        if (spec, split) in self._opened:
            return self._opened[spec, split]
        try:
            source = image_sources.open_source(
                spec, split, classes=self.classes or None, on_bad=config.on_bad
            )
        except errors.UserError as error:
            if not folder or not config.resized_copies:
                raise
            raise errors.UserError(
                f"{error} (resized copies are made by `tfdl prepare "
                "--model=imagenet18`; --config.resized_copies=false does without)"
            ) from None
        self._opened[spec, split] = source
        return source

    def left_out(self) -> list[str]:
        """Returns lines about the pictures that could not be read."""
        lines = []
        for (spec, split), source in self._opened.items():
            if len(source.bad):
                lines.append(f"{spec}, {split}: {len(source.bad)} pictures left out:")
                lines += [f"  {line}" for line in source.bad.lines()]
        return lines
