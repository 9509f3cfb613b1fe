"""The study of a sweep in Optuna: its points, their values, and who works on which. The only module with Optuna in it.

A point that is being worked on is leased by a lock file of its own, which the system takes back when the last process
of it dies, by whatever means. A point that runs and has no holder is free for anybody to go on with.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain import durable
from rnntrain.checking import shown
from rnntrain.errors import UserError
from rnntrain.sweeps.plan import Plan, first_difference
from rnntrain.sweeps.settings import SweepSettings
from rnntrain.sweeps.space import Dimension, Value, grid_points

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

INSTALL = "pip install 'rnntrain[sweep]'"
PLAN_KEY = "rnntrain"
RETRY_OF = "retry_of"
JOURNAL = "journal.log"
SQLITE_TIMEOUT_SECONDS = 20.0  # for another process to be done with the file
DONE_STATES = ("COMPLETE", "PRUNED", "FAIL")


class Lease:
    """The right to work on one point. Its runs inherit it, so that it lasts as long as the last of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Lease | None:
        """Return the lease, or None where another process holds it."""
        with durable.one_line(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self.descriptor)


@contextmanager
def waiting_lock(path: Path) -> Iterator[int]:
    """Hold a lock file; wait for it."""
    with durable.one_line(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


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
        self._distributions = {dimension.key: _distribution(dimension) for dimension in plan.space}
        _check_sampler(plan.settings)
        pruner = _pruner(plan.settings, evaluations)
        with durable.one_line(self.folder):
            for folder in (self.folder, self.folder / "leases", self.folder / "runs", self.folder / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        with waiting_lock(self.folder / "sweep.lock"), storage_errors(plan.settings.storage):
            self._storage = _open_storage(plan)
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
                    raise UserError(
                        f"{plan.settings.storage}: has a study {plan.name} that is no sweep; set sweep.name"
                    )
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
        self.study.sampler = _sampler(settings, place)
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

            self.study.sampler = _sampler(self.plan.settings, trial.number)
            trial_now = optuna.Trial(self.study, trial._trial_id)
            for key, distribution in self._distributions.items():
                trial_now._suggest(key, distribution)  # as `ask` does; what was drawn before stays
        return {key: trial_now.params[key] for key in self._distributions}

    def _lease_path(self, number: int) -> Path:
        return self.folder / "leases" / f"{number:04}.lock"

    def trial(self, number: int) -> FrozenTrial:
        return self.trials()[number]

    # -- values ---

    def report(self, number: int, evaluation: int, value: float) -> bool:
        """Record the value of an evaluation, counted from 1; return whether the point is to be ended early."""
        with storage_errors(self.plan.settings.storage):
            trial = self.trial(number)
            if evaluation in trial.intermediate_values:
                return False
            self._storage.set_trial_intermediate_value(trial._trial_id, evaluation, value)
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


def import_optuna() -> Any:
    """Import Optuna with its talk turned off.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"sweep: needs Optuna; install it: {INSTALL}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Turn what a storage refuses into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        import optuna

        storage = (optuna.exceptions.StorageInternalError, optuna.exceptions.UpdateFinishedTrialError)
        if not isinstance(error, (OSError, *storage)) and module not in ("sqlalchemy", "redis"):
            raise
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(f"sweep.storage={url or JOURNAL}: cannot be used: {reason}") from error


def _open_storage(plan: Plan) -> Any:
    url = plan.settings.storage
    if url is None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        path = plan.folder / JOURNAL
        lock: Any = JournalLock(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    from optuna.storages import RDBStorage

    arguments = {"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs=arguments)
    except (ImportError, ValueError) as error:
        raise UserError(f"sweep.storage={shown(url)}: {' '.join(str(error).split())[:200]}") from error


class JournalLock:
    """Lets one process at a time write an Optuna journal. Optuna's own lock outlives a killed process by half a minute.

    A last line without an end was torn by power that failed, and would make all that follows unreadable: it is cut off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        path = self._journal.with_suffix(".lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None


def _cut_torn_line(path: Path) -> None:
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(max(0, size - (1 << 20)))
            tail = file.read()
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions as d

    if dimension.values:
        return d.CategoricalDistribution(dimension.values)
    if dimension.integer:
        return d.IntDistribution(
            round(dimension.low), round(dimension.high), log=dimension.log, step=max(1, round(dimension.step))
        )
    step = None if dimension.log or not dimension.step else dimension.step
    return d.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=step)


def _check_sampler(settings: SweepSettings) -> None:
    needed = {"gp": "scipy", "qmc": "scipy"}.get(settings.sampler)
    from importlib.util import find_spec

    if needed and find_spec(needed) is None:
        raise UserError(f"sweep.sampler={settings.sampler}: needs {needed}; install it: {INSTALL}")


def _sampler(settings: SweepSettings, number: int) -> optuna.samplers.BaseSampler:
    """Make the sampler of one point. Its seed follows from the point's number, so that a sweep that was stopped draws
    the points that it would have drawn, and none a second time."""
    import warnings

    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    seed = zlib.crc32(f"{settings.sampler_seed} {number}".encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if settings.sampler == "tpe":
            return samplers.TPESampler(
                n_startup_trials=settings.startup_trials, multivariate=True, constant_liar=True, seed=seed
            )
        if settings.sampler == "gp":
            return samplers.GPSampler(n_startup_trials=settings.startup_trials, seed=seed)
        if settings.sampler == "nsga2":
            return samplers.NSGAIISampler(population_size=max(2, settings.startup_trials), seed=seed)
        return samplers.RandomSampler(seed=seed)


def _pruner(settings: SweepSettings, evaluations: int | None) -> optuna.pruners.BasePruner:
    """Make the pruner; its resource is the number of evaluations."""
    from optuna import pruners

    if settings.pruner == "none":
        return pruners.NopPruner()
    if evaluations is not None and evaluations < 2:
        raise UserError(
            f"sweep.pruner={settings.pruner}: a run is evaluated {evaluations} time, and is ended early only between "
            "evaluations; lower trainer.eval_every_steps"
        )
    if settings.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=0)
    if settings.pruner == "successive_halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=settings.reduction_factor)
    if evaluations is None:
        raise UserError(
            "sweep.pruner=hyperband: needs to know how often a run is evaluated; set trainer.max_steps or max_epochs"
        )
    return pruners.HyperbandPruner(min_resource=1, max_resource=evaluations, reduction_factor=settings.reduction_factor)
