"""What converters of classifiers ask for besides weights: names of classes, sizes."""

import pathlib
from collections.abc import Sequence

from tfdl.data import class_names as classes
from tfdl.engine.errors import UserError

MAX_SIZE = 8192


def labels(
    given: Sequence[str] | str, count: int, known: Sequence[classes.ClassName] = ()
) -> tuple[classes.ClassName, ...]:
    """Returns the names of a network's classes, none if nothing is known.

    Args:
        given: names, or one file with a name per line; empty takes `known`.
        count: how many classes the network has.
        known: what the checkpoint says or implies.

    Raises:
        UserError: there are more or fewer names than classes.
    """
    given = [given] if isinstance(given, str) else list(given)
    where = "labels"
    if not given:
        return tuple(known)
    if len(given) == 1 and pathlib.Path(given[0]).is_file():
        where = given[0]
        names = classes.read(where)
    else:
        names = classes.parse(given, where)
    if len(names) != count:
        raise UserError(f"{where} has {len(names)} names, the network {count} classes")
    return names


def sizes(
    test_size: int | None, resize: int | None, usual: tuple[int, int]
) -> tuple[int, int]:
    """Returns the pictures' size and their short side before the crop to it.

    Args:
        test_size: the size asked for, None for the usual one.
        resize: the short side asked for; None shows as much as usual.
        usual: both, for this network.

    Raises:
        UserError: no whole number in [1, MAX_SIZE].
    """
    size = usual[0] if test_size is None else test_size
    side = resize
    if side is None:
        side = usual[1] if test_size is None else round(usual[1] * size / usual[0])
    for name, value in (("test_size", size), ("resize", side)):
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise UserError(
                f"{name} has to be a number in [1, {MAX_SIZE}], got {value!r}"
            )
    return size, side
