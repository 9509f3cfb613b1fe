"""Work on a sweep until its points are done: keep all slots busy, read what runs report, end those that do badly."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from pathlib import Path

from rnntrain.errors import UserError
from rnntrain.sweeps.leases import Lease
from rnntrain.sweeps.points import Point, SeedRun, recorded, seeds_note
from rnntrain.sweeps.process import Outcome, Progress, RunProcess
from rnntrain.sweeps.slots import Slots
from rnntrain.sweeps.study import DONE_STATES, Study
from rnntrain.sweeps.view import Snapshot, View

TICK_SECONDS = 0.2  # between two looks at what runs report
OTHERS_SECONDS = 2.0  # between two looks at what other processes work on


class Scheduler:
    """Runs points of a study in processes of their own.

    Args:
        metrics: whose values make a point's; evaluations of the first may end it early.
        evaluations: of a run that is not ended early; the last ends nothing. None where that is not known.
        slots: how many runs at once, and where each computes.
        view: is told what happens.
    """

    def __init__(self, study: Study, metrics: Sequence[str], evaluations: int | None, slots: Slots, view: View) -> None:
        self.study, self.plan, self.settings = study, study.plan, study.plan.settings
        self.metrics, self.evaluations = list(metrics), evaluations
        self.slots, self.view = slots, view
        self.points: dict[int, Point] = {}
        self.twins: dict[int, int] = {}  # points whose values an earlier one has, by its number
        self._twin_leases: dict[int, Lease] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping: str | None = None
        self._began = time.monotonic()
        self._looked_at_others = -OTHERS_SECONDS
        self._nothing_left = False
        self.failures: list[str] = []

    # -- the loop ---

    def work(self) -> str | None:
        """Work until every point is done; return None, or why it stopped before that."""
        try:
            while self._turn():
                self._wait()
        except KeyboardInterrupt:
            for process in self._processes():
                process.kill()
            raise
        except BaseException:  # of a storage out of reach, say: no run is to lose what it has done
            for process in self._processes():
                process.stop()
            for process in self._processes():
                process.outcome()
            raise
        finally:
            for lease in (*(point.lease for point in self.points.values()), *self._twin_leases.values()):
                lease.release()
            self._selector.close()
        return self._stopping

    def stop(self, reason: str) -> None:
        """Let all runs save and end, and begin none; from a signal handler too."""
        if self._stopping is None:
            self._stopping = reason

    @property
    def is_stopping(self) -> bool:
        return self._stopping is not None

    def _turn(self) -> bool:
        """Do what is due; return whether there is anything left to wait for."""
        for run in self._running():
            self._read_progress(run)
        self._end_points()  # before new points are drawn, which may learn from these
        limit = self.settings.max_minutes
        if limit is not None and time.monotonic() - self._began >= 60 * limit:
            self.stop("max_minutes")
        if self._stopping is None:
            self._fill()
        else:
            for run in self._running():
                run.stop()
        if self.view.due():
            self.view.show(self._snapshot())
        if self._running():
            return True
        return self._stopping is None and (bool(self.points) or bool(self.twins) or self._others_work())

    def _wait(self) -> None:
        busy = self._running()
        timeout = TICK_SECONDS if busy else OTHERS_SECONDS / 4
        if not busy:
            time.sleep(timeout)
            return
        for key, _ in self._selector.select(timeout):
            self._ended(key.data)

    def _others_work(self) -> bool:
        return any(trial.state.name not in DONE_STATES for trial in self.study.trials())

    # -- beginning ---

    def _fill(self) -> None:
        while (slot := self.slots.free()) is not None:
            run = self._next_run()
            if run is None:
                return
            self._start(*run, slot)

    def _next_run(self) -> tuple[Point, SeedRun] | None:
        """Return a run that may start: of a point that was begun, else of a new one."""
        while True:
            for point in self.points.values():
                for run in point.waiting(one_first=self.settings.pruner != "none"):
                    return point, run
            if not self._begin_point():
                return None

    def _begin_point(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at_others < OTHERS_SECONDS and self._nothing_left:
            return False
        taken = self.study.next({*self.points, *self.twins})
        self._nothing_left, self._looked_at_others = taken is None, now
        if taken is None:
            return False
        number, values, lease = taken
        runs = []
        for seed in self.plan.seeds:
            folder = self.study.folder / "runs" / f"{number:04}-seed{seed}"
            run = SeedRun(number, seed, folder, Progress(folder, self.metrics[0]))
            if run.is_free():
                run.read(self.metrics)
            runs.append(run)
        point = Point(number, values, lease, runs)
        untouched = all(recorded(run.folder) is None for run in runs)
        twin = self.study.twin(number, values) if untouched else None
        if twin is not None:
            self.twins[number] = twin.number
            self._twin_leases[number] = lease
            return True
        self.points[number] = point
        return True

    def _start(self, point: Point, run: SeedRun, slot: int) -> None:
        resume = run.read(self.metrics)
        if run.state != "waiting":
            return
        try:
            config = self.plan.compose(point.values, run.seed, run.folder)
        except UserError as error:
            run.state, run.error = "failed", str(error)
            return
        command = ["train", *self.plan.words(point.values, run.seed)]
        if self.plan.config_name != "train":
            command[1:1] = ["--config-name", self.plan.config_name]
        if self.plan.config_dir is not None:
            command[1:1] = ["--config-dir", str(self.plan.config_dir)]
        run.process = RunProcess(
            config,
            command,
            resume=resume,
            log=self._log(run),
            environment=self.slots.environment(slot, config.get("threads")),
            inherited=(point.lease.descriptor,),
        )
        run.state, run.slot = "running", slot
        self.slots.take(slot)
        self._selector.register(run.process, selectors.EVENT_READ, run)

    def _log(self, run: SeedRun) -> Path:
        return self.study.folder / "logs" / f"{run.name}.log"

    # -- looking on ---

    def _running(self) -> list[SeedRun]:
        return [run for point in self.points.values() for run in point.running()]

    def _processes(self) -> list[RunProcess]:
        return [run.process for run in self._running() if run.process is not None]

    def _read_progress(self, run: SeedRun) -> None:
        """Report the evaluations that came since the last look; end the run early where they are bad enough."""
        first = self.points[run.number].runs[0]
        for evaluation in run.progress.look():
            if run is not first or len(self.metrics) > 1:
                continue
            worse = self.study.report(run.number, evaluation.number, evaluation.value)
            if worse and run.process is not None and evaluation.number != self.evaluations:
                run.process.prune()

    # -- ending ---

    def _ended(self, run: SeedRun) -> None:
        assert run.process is not None
        self._selector.unregister(run.process)
        outcome = run.process.outcome()
        self.slots.give_back(run.slot)
        run.state, run.process = "waiting", None
        self._read_progress(run)
        if outcome.status in ("finished", "pruned"):
            run.read(self.metrics)
            if run.state == "waiting":
                run.state, run.error = "failed", "ended without a summary"
        # A cluster signals all processes of its job, so that runs may have saved before the sweep has told them to.
        elif outcome.status != "interrupted" or not (run.told_to_stop or self.is_stopping):
            self._judge(run, outcome)
        run.told_to_stop = False

    def _judge(self, run: SeedRun, outcome: Outcome) -> None:
        """Start a run again that ended unasked, unless it would end the same way or has done so too often."""
        error = outcome.error or "was stopped by somebody else"
        can_go_on = run.read(self.metrics)  # also where memory or the disk ran out, as its summary then says
        if outcome.status == "refused" and not can_go_on:
            run.state, run.error = "failed", error
            return
        if run.crashed() > self.settings.retries:
            run.state, run.error = "failed", error
        else:
            self.view.event(f"{run.name} ended: {error}; starting it again")

    def _end_points(self) -> None:
        for point in list(self.points.values()):
            verdict = point.verdict()
            if verdict is None:
                if any(run.state == "failed" for run in point.runs):
                    for run in point.running():
                        run.stop()
                continue
            self.study.remember(point.number, "seeds", seeds_note(point))
            if verdict == "fail":
                self.study.remember(point.number, "error", point.error())
                self.failures.append(point.error())
            means = point.means() if verdict == "complete" else None
            self.study.end(point.number, verdict, means)
            self.view.ended(point, verdict, means, self._log(point.runs[0]))
            point.lease.release()
            del self.points[point.number]
            if verdict == "fail" and self.settings.on_failure == "stop":
                self.stop("a run failed")
        self._end_twins()

    def _end_twins(self) -> None:
        for number, earlier in list(self.twins.items()):
            trial = self.study.trial(earlier)
            if trial.state.name not in DONE_STATES:
                continue
            self.study.remember(number, "same_as", earlier)
            state = trial.state.name.lower()
            self.study.end(number, state, trial.values if state == "complete" else None)
            self.view.event(f"{number:04} is the same point as {earlier:04}, and was not run again")
            self._twin_leases.pop(number).release()
            del self.twins[number]

    def _snapshot(self) -> Snapshot:
        running = [(run.name, run.progress.step, run.progress.value) for run in self._running()]
        states = [trial.state.name for trial in self.study.standing()]
        counts = {name: states.count(name.upper()) for name in ("complete", "pruned", "fail")}
        return Snapshot(self.plan.trials, counts["complete"], counts["pruned"], counts["fail"], running)
