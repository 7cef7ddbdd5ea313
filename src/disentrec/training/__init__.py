"""One loop for every model: the papers' and the baselines', of both tasks."""

from disentrec.training.checkpoint import Checkpoint
from disentrec.training.loop import Training, TrainingResult, train
from disentrec.training.tasks import Task, task_of

__all__ = ["Checkpoint", "Task", "Training", "TrainingResult", "task_of", "train"]
