"""Optimizers with their originals' exact update rules.

Keras's optimizers clip each replica's gradients on its own and differ from the
originals in epsilon, bias correction or momentum; here gradients are reduced over
the replicas first, once, and everything after works on their global sum.
"""

from collections.abc import Mapping
from typing import Any

from tfdl.engine.optimizers.adam import Adam, AdamW, BertAdam, Lamb, OpenAIAdam
from tfdl.engine.optimizers.base import Optimizer
from tfdl.engine.optimizers.sgd import SGD, Adagrad, Lars, RMSprop
from tfdl.engine.options import construct

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "openai_adam": OpenAIAdam,
    "bert_adam": BertAdam,
    "lamb": Lamb,
    "lars": Lars,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}


def create(options: Mapping[str, Any]) -> Optimizer:
    """Returns the optimizer that `options["name"]` names, with the other options.

    Fields that say how the rate moves (`learning_rate`, `schedule`, `warmup`...)
    belong to schedules and are left out by the tasks before they call this.

    Raises:
        UserError: an unknown name or option, or a value out of its range.
    """
    return construct("optimizer", OPTIMIZERS, options)
