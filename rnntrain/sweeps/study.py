"""The study of a sweep in Optuna: its points, their values, and who works on which. The only module with Optuna in it.

A point that is being worked on is leased by a lock file of its own, which the system takes back when the last process
of it dies, by whatever means. A point that runs and has no holder is free for anybody to go on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError
from rnntrain.sweeps.leases import Lease, waiting_lock
from rnntrain.sweeps.plan import Plan, first_difference
from rnntrain.sweeps.samplers import check_sampler, distribution_of, pruner_of, sampler_of
from rnntrain.sweeps.space import Value, grid_points
from rnntrain.sweeps.storage import import_optuna, open_storage, storage_errors, without_password

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PLAN_KEY = "rnntrain"
RETRY_OF = "retry_of"
DONE_STATES = ("COMPLETE", "PRUNED", "FAIL")


class Study:
    """The points of a sweep and their values, shared by all processes that work on it.

    Args:
        plan: of the sweep.
        directions: "minimize" or "maximize", one for each metric.
        evaluations: of a run that is not ended early; None where that is not known.

    Raises:
        UserError: Optuna is missing, its storage cannot be used, or holds another sweep of that name.
    """

    def __init__(self, plan: Plan, directions: Sequence[str], evaluations: int | None) -> None:
        optuna = import_optuna()
        self.plan, self.folder = plan, plan.folder
        self._distributions = {dimension.key: distribution_of(dimension) for dimension in plan.space}
        check_sampler(plan.settings)
        pruner = pruner_of(plan.settings, evaluations)
        with durable.one_line(self.folder):
            for folder in (self.folder, self.folder / "leases", self.folder / "runs", self.folder / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        with waiting_lock(self.folder / "sweep.lock"), storage_errors(plan.settings.storage):
            self._storage = open_storage(plan)
            self.study = optuna.create_study(
                storage=self._storage,
                study_name=plan.name,
                directions=list(directions),
                pruner=pruner,
                load_if_exists=True,
            )
            stored = self.study.user_attrs.get(PLAN_KEY)
            if stored is None:
                if self.study.get_trials(deepcopy=False):
                    where = without_password(str(plan.settings.storage))
                    raise UserError(f"{where}: has a study {plan.name} that is no sweep; set sweep.name")
                self.study.set_user_attr(PLAN_KEY, plan.identity())
            elif other := first_difference(stored, plan.identity()):
                raise UserError(
                    f"{self.folder}: is another sweep: {other}; go on with it as it was, or set another sweep.name"
                )

        failed = {trial.number for trial in self.trials() if trial.state.name == "FAIL"}
        self._failed_before = failed if plan.settings.retry_failed else set()

    @property
    def metrics(self) -> list[str]:
        metric = self.plan.settings.metric
        return [metric] if isinstance(metric, str) else list(metric or [])

    @property
    def directions(self) -> list[str]:
        return [direction.name.lower() for direction in self.study.directions]

    def best(self) -> tuple[int, float] | None:
        """Return number and value of the best point of a sweep with one metric, or None where there is none yet."""
        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        if not done or len(self.directions) > 1:
            return None
        sign = -1.0 if self.directions[0] == "maximize" else 1.0
        best = min(done, key=lambda trial: sign * trial.values[0])
        return best.number, best.values[0]

    # -- points ---

    def trials(self) -> list[FrozenTrial]:
        """Return all points in the order of their numbers."""
        with storage_errors(self.plan.settings.storage):
            return self.study.get_trials(deepcopy=False)

    def next(self, mine: set[int]) -> tuple[int, dict[str, Value], Lease] | None:
        """Lease a point that nobody works on, else draw a new one; None where there is none left to begin.

        Args:
            mine: numbers of the points that this process works on.
        """
        with waiting_lock(self.folder / "sweep.lock"), storage_errors(self.plan.settings.storage):
            trials = self.trials()
            for trial in trials:
                if trial.state.name in ("RUNNING", "WAITING") and trial.number not in mine:
                    lease = Lease.take(self._lease_path(trial.number))
                    if lease is not None:
                        return trial.number, self._completed(trial), lease
            retried = self._retried(trials)
            again = [trial for trial in trials if trial.number in self._failed_before - retried]
            place = len(trials) - len(retried)
            if place >= self.plan.trials and not again:
                return None
            lease = Lease.take(self._lease_path(len(trials)))
            if lease is None:
                raise UserError(
                    f"{self._lease_path(len(trials))}: is held, though no such point was begun; end its holder"
                )
            if again:
                self.study.enqueue_trial(again[0].params, user_attrs={RETRY_OF: again[0].number})
            return len(trials), self._draw(place, enqueued=bool(again)), lease

    def _draw(self, place: int, *, enqueued: bool) -> dict[str, Value]:
        """Begin the point that was enqueued, else the one at a place in the order of points that are no retries."""
        settings = self.plan.settings
        if settings.sampler in ("grid", "qmc") and not enqueued:
            point = grid_points(self.plan.space)[place] if settings.sampler == "grid" else self._spread(place)
            self.study.enqueue_trial(point)
        self.study.sampler = sampler_of(settings, place)
        trial = self.study.ask(self._distributions)
        return {key: trial.params[key] for key in self._distributions}

    @staticmethod
    def _retried(trials: Sequence[FrozenTrial]) -> set[int]:
        """Return the points in whose place another one stands."""
        return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}

    def standing(self) -> list[FrozenTrial]:
        """Return all points but those that were tried anew."""
        trials = self.trials()
        retried = self._retried(trials)
        return [trial for trial in trials if trial.number not in retried]

    def _spread(self, number: int) -> dict[str, Value]:
        """Return a point of Sobol's sequence, which fills the space evenly (Sobol 1967, scrambled as Owen 1998)."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.plan.space), scramble=True, rng=self.plan.settings.sampler_seed)
        if number:
            sequence.fast_forward(number)
        shares = sequence.random(1)[0]
        return {each.key: each.at(float(share)) for each, share in zip(self.plan.space, shares, strict=True)}

    def _completed(self, trial: FrozenTrial) -> dict[str, Value]:
        """Return a point, some of whose values may not have been drawn when its process died."""
        if trial.state.name == "WAITING":
            trial_now: Any = self.study.ask(self._distributions)
        elif self._distributions.keys() <= trial.params.keys():
            trial_now = trial
        else:
            import optuna

            self.study.sampler = sampler_of(self.plan.settings, trial.number)
            trial_now = optuna.Trial(self.study, trial._trial_id)
            for key, distribution in self._distributions.items():
                trial_now._suggest(key, distribution)  # as `ask` does; what was drawn before stays
        return {key: trial_now.params[key] for key in self._distributions}

    def _lease_path(self, number: int) -> Path:
        return self.folder / "leases" / f"{number:04}.lock"

    def trial(self, number: int) -> FrozenTrial:
        return self.trials()[number]

    def point(self, number: int) -> dict[str, Value]:
        """Return the values of a point, in the order of the space."""
        params = self.trial(number).params
        return {key: params[key] for key in self._distributions}

    # -- values ---

    def report(self, number: int, evaluation: int, value: float) -> bool:
        """Record the value of an evaluation, counted from 1; return whether the point is to be ended early."""
        with storage_errors(self.plan.settings.storage):
            trial = self.trial(number)
            if evaluation not in trial.intermediate_values:
                self._storage.set_trial_intermediate_value(trial._trial_id, evaluation, value)
            elif evaluation != trial.last_step:  # of the last one the run may have died before it was told
                return False
            return bool(self.study.pruner.prune(self.study, self.trial(number)))

    def remember(self, number: int, key: str, value: Any) -> None:
        """Keep a note with a point that has not ended."""
        with storage_errors(self.plan.settings.storage):
            self._storage.set_trial_user_attr(self.trial(number)._trial_id, key, value)

    def end(self, number: int, state: str, values: Sequence[float] | None = None) -> None:
        """End a point: "complete" with its values, "pruned" or "fail"."""
        from optuna.trial import TrialState

        with storage_errors(self.plan.settings.storage):
            self.study.tell(number, values, state=TrialState[state.upper()], skip_if_finished=True)

    def twin(self, number: int, point: Mapping[str, Value]) -> FrozenTrial | None:
        """Return an earlier point with the same values, whose outcome must be the same, unless that failed."""
        for trial in self.trials()[:number]:
            if trial.params == point and trial.state.name != "FAIL":
                return trial
        return None
