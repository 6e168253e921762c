"""Recurrent cells as people write them: by name or by numbers."""

from tfdl.engine import errors
from tfdl.models.automl.recurrent import genotypes
from tfdl.models.automl.spaces import genotypes as published


def cell(text: str) -> genotypes.Cell:
    """Returns a cell by its name, or by its numbers: "tree: 0 1 ...", "enas_lm: ...".

    Raises:
        UserError: it is neither, or no recurrent cell.
    """
    form, colon, numbers = text.partition(":")
    if colon:
        return genotypes.parse(numbers, form.strip())
    found = published.published(text)
    if not isinstance(found, genotypes.TreeCell | genotypes.NodesCell):
        raise errors.UserError(f"genotype {text!r} is no recurrent cell")
    return found
