"""Classes as a person writes them: a number, a WordNet id, or a name."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from tfdl.data import class_names
from tfdl.engine import errors, files, model_dir


def names(
    directory: files.PathLike, config: Mapping[str, Any], file: str = ""
) -> tuple[class_names.ClassName, ...]:
    """Returns what the classes of a model directory are called.

    Args:
        directory: the model directory.
        config: its configuration.
        file: a file of names instead of the model's own.

    Raises:
        UserError: the file has another number of names than the model has classes.
    """
    count = int(config["generator"].get("num_classes", 1000))
    if file or config.get("classes"):
        path = file or model_dir.asset(directory, config["classes"])
        found = class_names.named(class_names.read(path))
        if len(found) != count:
            raise errors.UserError(
                f"{path} names {len(found)} classes, the model has {count}"
            )
        return found
    if count == 1000:
        return class_names.imagenet()
    return class_names.numbered(count)


def parse(text: str, known: Sequence[class_names.ClassName]) -> list[int]:
    """Returns the classes of a list such as `"207, n02123045, pizza"`.

    Items are separated by semicolons where there is one, else by commas; `all` is
    every class. A name may be written in any case; one that several classes share
    needs its number.

    Raises:
        UserError: a class that is not there.
    """
    if text.strip().lower() == "all":
        return list(range(len(known)))
    separator = ";" if ";" in text else ","
    items = [item.strip() for item in text.split(separator) if item.strip()]
    return [_one(item, known) for item in items]


def _one(item: str, known: Sequence[class_names.ClassName]) -> int:
    word = item.lower()
    matches = [i for i, label in enumerate(known) if word in _called(label)]
    # Names of digits are numbers: a name comes first.
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise errors.UserError(
            f"--labels: several classes are called {item!r}: "
            f"{', '.join(f'{i} ({known[i].wnid})' for i in matches)}"
        )
    if word.lstrip("-").isdigit():
        if not 0 <= int(word) < len(known):
            raise errors.UserError(
                f"--labels: {word} is not a class: they are 0 to {len(known) - 1}"
            )
        return int(word)
    alike = [label.name for label in known if word in label.name.lower()]
    alike += difflib.get_close_matches(item, [label.name for label in known])
    hint = f"; did you mean {' or '.join(map(repr, alike[:5]))}?" if alike else ""
    raise errors.UserError(
        f"--labels: no class is called {item!r} (the model has {len(known)}){hint}"
    )


def _called(label: class_names.ClassName) -> tuple[str, ...]:
    return label.name.lower(), label.wnid.lower() or label.name.lower()
