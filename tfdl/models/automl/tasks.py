"""AutoML's tasks by the names that recipes use."""

from tfdl.models.automl.search.task import SearchTask

TASKS = {"search": SearchTask}
