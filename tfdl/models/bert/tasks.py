"""BERT's tasks by the names that recipes use."""

from tfdl.models.bert.classify import BertClassifyTask
from tfdl.models.bert.pretrain import BertPretrainTask

TASKS = {
    "pretrain": BertPretrainTask,
    "classify": BertClassifyTask,
}
