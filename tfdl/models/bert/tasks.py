"""BERT's tasks by the names that recipes use."""

from collections.abc import Mapping
from typing import Any

from tfdl.models.bert.classify import BertClassifyTask
from tfdl.models.bert.ner_task import BertNerTask
from tfdl.models.bert.pretrain import BertPretrainTask
from tfdl.models.bert.squad_task import BertSquadTask
from tfdl.models.bert.swag_task import BertSwagTask

_RECIPES = {"pretraining": "pretrain", "squad": "squad", "swag": "swag", "ner": "ner"}


def recipe_for(config: Mapping[str, Any]) -> str:
    """Returns the recipe that measures a model directory: its head's."""
    return _RECIPES.get(config["head"].removesuffix("_features"), "classify")


TASKS = {
    "pretrain": BertPretrainTask,
    "classify": BertClassifyTask,
    "squad": BertSquadTask,
    "swag": BertSwagTask,
    "ner": BertNerTask,
}
