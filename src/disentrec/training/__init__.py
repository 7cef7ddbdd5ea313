"""One loop for every session model: the papers' and the baselines'."""

from disentrec.training.loop import Training, TrainingResult, train

__all__ = ["Training", "TrainingResult", "train"]
