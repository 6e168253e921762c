"""AutoML's tasks by the names that recipes use."""

from tfdl.models.automl.enas.image_tasks import EnasMacroTask, EnasMicroTask
from tfdl.models.automl.language_task import LanguageTask
from tfdl.models.automl.search.task import SearchTask

TASKS = {
    "search": SearchTask,
    "language": LanguageTask,
    "enas_micro": EnasMicroTask,
    "enas_macro": EnasMacroTask,
}
