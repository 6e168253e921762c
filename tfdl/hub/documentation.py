"""The documentation page of a module, in the Markdown format of TF Hub."""

import dataclasses
from collections.abc import Mapping

from tfdl.engine import exports
from tfdl.hub.handles import Handle
from tfdl.hub.interface import Interface

FINE_TUNING = """\
import keras

variables = module.trainable_variables
optimizer = keras.optimizers.Adam(1e-5)
optimizer.build(variables)
with tf.GradientTape() as tape:
    outputs = module(inputs, training=True)
    loss = ...
optimizer.apply(tape.gradient(loss, variables), variables)
"""


@dataclasses.dataclass(frozen=True)
class Page:
    """What a page is made of.

    Attributes:
        handle: the module.
        card: what the model says of it.
        interface: what it offers, as loaded.
        metrics: measured by `tfdl evaluate`.
        asset_path: the archive's address.
        needs_text: whether it, or one used with it, has tensorflow-text's operations.
        addresses: suffix -> address that `hub.load` takes, "" for the main module.
        suffix: which of them this module is.
        license: TF Hub's tag; "" says nothing.
    """

    handle: Handle
    card: exports.Card
    interface: Interface
    metrics: Mapping[str, float | str]
    asset_path: str
    needs_text: bool
    addresses: Mapping[str, str]
    suffix: str = ""
    license: str = ""


def write(page: Page) -> str:
    """Returns the page."""
    parts = [
        f"# Module {page.handle}",
        page.card.summary,
        _metadata(page),
        f"## Overview\n\n{_overview(page)}",
        f"## Use\n\n```python\n{_usage(page)}```",
        f"## Inputs\n\n{_values(page.card.inputs)}",
        f"## Outputs\n\n{_values(page.card.outputs)}",
    ]
    if page.card.fine_tunable:
        parts.append(
            "## Fine-tuning\n\n`training=True` is the training mode: dropout, batch "
            f"statistics.\n\n```python\n{FINE_TUNING}```"
        )
    parts.append(f"## Metrics\n\n{_metrics(page.metrics)}")
    return "\n\n".join(parts) + "\n"


def _metadata(page: Page) -> str:
    card = page.card
    values = {
        "asset-path": page.asset_path,
        "task": card.task,
        "fine-tunable": str(card.fine_tunable).lower(),
        "format": "saved_model_2",
        "network-architecture": card.architecture,
        "language": card.language,
        "dataset": card.dataset,
        "license": page.license,
    }
    return "\n".join(f"<!-- {name}: {v} -->" for name, v in values.items() if v)


def _overview(page: Page) -> str:
    interface = page.interface
    lines = [
        f"A TF2 SavedModel with the Reusable SavedModel interface, made by tfdl: "
        f"{interface.parameters:,} parameters, {interface.trainable:,} of them "
        "trainable."
    ]
    if interface.parts:
        names = ", ".join(f"`module.{name}`" for name in interface.parts)
        lines.append(f"Callable parts: {names}.")
    names = ", ".join(f"`{name}`" for name in interface.signatures)
    if names:
        lines.append(f"Signatures for TF Serving: {names}.")
    for suffix, address in page.addresses.items():
        if suffix != page.suffix:
            what = "Belongs to" if page.suffix else f"Its {suffix} module is"
            lines.append(f"{what} <{address}>.")
    return "\n".join(lines)


def _usage(page: Page) -> str:
    imports = ["import tensorflow as tf", "import tensorflow_hub as hub"]
    if page.needs_text:
        imports.append("import tensorflow_text  # the operations of the preprocessing")
    usage = page.card.usage
    for suffix, address in page.addresses.items():
        usage = usage.replace("{%s}" % (suffix or "main"), address)
    load = f'module = hub.load("{page.addresses[page.suffix]}")'
    return "\n".join([*imports, "", load, usage.rstrip("\n"), ""])


def _values(values: Mapping[str, str]) -> str:
    if list(values) == [""]:
        return f"A tensor: {values['']}."
    return "A dict:\n\n" + "\n".join(f"*   `{k}`: {v}" for k, v in values.items())


def _metrics(metrics: Mapping[str, float | str]) -> str:
    if not metrics:
        return "Not measured."
    rows = [f"| {name} | {_cell(value)} |" for name, value in metrics.items()]
    return "\n".join(["| metric | value |", "| --- | --- |", *rows])


def _cell(value: float | str) -> str:
    """Returns a metric as a table shows it."""
    if isinstance(value, str):
        return " ".join(value.split()).replace("|", "\\|")
    return f"{value:.6g}"
