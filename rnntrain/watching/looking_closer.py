"""What a run looks at beside its numbers: histograms and profiles while it trains, sounds and vectors at its end."""

from __future__ import annotations

import numpy as np

from rnntrain.build import Experiment
from rnntrain.metrics import Picture
from rnntrain.runs.run import RunDir
from rnntrain.watching.logger import Logger
from rnntrain.watching.projector import write_embeddings
from rnntrain.watching.watcher import Watcher

SOUNDS = 3  # examples of the validation split that can be listened to


def looking_closer(watcher: Watcher, logger: Logger, run: RunDir, diagnose: str) -> Watcher:
    """Return the watcher, behind one that looks at what `diagnose` asks for."""
    if diagnose == "histograms":
        from rnntrain.watching.histograms import Histograms

        return Histograms(watcher, logger)
    if diagnose == "profile":
        from rnntrain.watching.profiling import Profiler

        return Profiler(watcher, logger, run.path / "profile")
    return watcher


def last_pictures(experiment: Experiment) -> dict[str, Picture]:
    """Return what `diagnose=gradients` shows of the weights that a run ends with."""
    if experiment.config.top.diagnose != "gradients":
        return {}
    from rnntrain.watching.gradient_log import diagnose_trainer, picture

    return {"gradients by lag": picture(diagnose_trainer(experiment.trainer))}


def leave_sounds_and_vectors(experiment: Experiment, logger: Logger, run: RunDir) -> None:
    """Write what TensorBoard alone can show of a run's end: examples to listen to, and what was learnt of tokens."""
    if "val" in experiment.data.splits:
        logger.sounds(experiment.trainer.step, experiment.data.sounds("val", SOUNDS))
    write_embeddings(run.tensorboard, learnt_vectors(experiment))


def learnt_vectors(experiment: Experiment) -> dict[str, tuple[list[str], np.ndarray]]:
    """Return the vectors that a model has learnt of tokens or classes, with their names, by title."""
    found = experiment.task.embeddings(experiment.model, experiment.data.codec)
    return {title: (names, vectors.detach().float().cpu().numpy()) for title, (names, vectors) in found.items()}
