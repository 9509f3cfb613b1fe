"""What all processes but the first do of a run: they train and evaluate their part, and write nothing."""

from __future__ import annotations

from rnntrain.build import Experiment
from rnntrain.errors import INTERRUPTED, Followed, NonFiniteError
from rnntrain.evaluation import evaluate_finally
from rnntrain.interrupt import StopRequests
from rnntrain.processes import distributed
from rnntrain.runs.run import RunDir
from rnntrain.runs.summary import Summary
from rnntrain.watching.recorder import Follower


def follow(experiment: Experiment, run: RunDir, summary: Summary) -> None:
    """Take part in a run to its end; what is exchanged must be what the first process exchanges, in its order.

    Raises:
        Followed: after a signal to any of the processes, or a step that is not finite; the first says so.
    """
    trainer = experiment.trainer
    trainer.watcher = Follower(run)
    try:
        with StopRequests(quiet=True) as requests:
            trainer.fit(requests.reason)
    except NonFiniteError as error:
        raise Followed from error
    if distributed.agreed(requests.reason()) is not None:
        raise Followed(INTERRUPTED)
    trainer.finish()
    distributed.copy_from_first(list(experiment.model.parameters()))  # those that the run ends with
    evaluate_finally(experiment, summary)
