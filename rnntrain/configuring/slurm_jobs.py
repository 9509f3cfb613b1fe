"""What Slurm does with the jobs of a multirun, and what a job does that Slurm ends: what submitit leaves open.

submitit asks `sacct` alone, in the end every ten minutes, and waits for ever where a cluster keeps no accounts. It puts
a job back into the queue on a signal of its own, but not on SIGTERM, which is what Slurm sends where it preempts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

from rnntrain.errors import INTERRUPTED

LOOK_SECONDS = 60  # between two questions to Slurm, at most
ASKED_SECONDS = 60  # in which it must answer
GONE_AFTER = 2  # questions after a job of which Slurm knows nothing
LINES = 3  # of jobs that have vanished
GONE = "UNKNOWN TO SLURM"
# In all others a job runs, waits, or is about to be put back.
_BROKEN_OFF = ("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT")


# -- in the process that has submitted them ---


def look_after(labels: Sequence[str]) -> SlurmStates:
    """Let submitit learn from here what becomes of its jobs; return what says which have vanished.

    Args:
        labels: tell the runs apart, in the order of the jobs.
    """
    states = SlurmStates(labels)
    SlurmJob.watcher = states
    return states


class SlurmStates(SlurmInfoWatcher):
    """The states of jobs: says at once which has ended without a result, and waits for all others before it is missed.

    Args:
        labels: tell the runs apart, in the order of the jobs.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__(delay_s=LOOK_SECONDS)
        self._labels = list(labels)
        self._lost: list[str] = []  # a line for each job that has vanished
        self._unknown: dict[str, int] = {}  # how often nothing was known of a job

    def vanished(self) -> str | None:
        """Return which jobs have ended without a result, None where none has."""
        more = [f"and {len(self._lost) - LINES} more"] if len(self._lost) > LINES else []
        return ", ".join([*self._lost[:LINES], *more]) or None

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return self.get_info(job_id, mode).get("State", "UNKNOWN")

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Say whether the job has ended, and no other is left: the first that is missed ends the wait for all."""
        self.get_info(job_id, mode)
        return self._registered <= self._finished

    def update(self) -> None:
        """Ask what has become of the jobs that have not ended."""
        self._last_status_check = time.time()
        jobs = sorted(self._registered - self._finished)
        states = _states(jobs) if jobs else None
        if states is None:
            return
        self._num_calls += 1
        for job in jobs:
            self._unknown[job] = 0 if job in states else self._unknown.get(job, 0) + 1
            state = states.get(job, GONE if self._unknown[job] >= GONE_AFTER else "UNKNOWN")
            self._info_dict[job] = {"JobID": job, "State": state}
            if state in (*_BROKEN_OFF, "COMPLETED", GONE):
                self._finished.add(job)
                self._ended(job, state)

    def _ended(self, job: str, state: str) -> None:
        if state not in _BROKEN_OFF:  # else it is missed where it has left no result
            return
        number = job.partition("_")[2] or "0"
        label = self._labels[int(number)] if number.isdecimal() and int(number) < len(self._labels) else ""
        self._lost.append(f"job {job}{label and f' ({label})'} has ended as {state}")
        print(f"rnntrain: {self._lost[-1]}", file=sys.stderr, flush=True)


def _states(jobs: Sequence[str]) -> dict[str, str] | None:
    """Return the states that Slurm knows of, by job; None where it does not answer."""
    ids = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    known = _table("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={ids}")
    if known is not None and not set(jobs) <= known.keys():  # it forgets what has ended, after some minutes
        accounts = _table(
            "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={ids}"
        )
        known = {**(accounts or {}), **known}
    return known


def _table(*command: str) -> dict[str, str] | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return {} if "Invalid job id" in done.stderr else None
    rows = (line.split("|") for line in done.stdout.splitlines() if "|" in line)
    # Who has cancelled a job is added to its state.
    return {job.strip(): (state.split() or ["UNKNOWN"])[0] for job, state, *_ in rows}


# -- in a job ---


def leave_to_slurm() -> None:
    """End a job without a result, if Slurm is to run it again or has cancelled it; else do nothing.

    Slurm puts back what it preempts at once, and what somebody requeues. A job that it preempts with a time of grace,
    and that ends by itself in that time, it takes for ended: that is put back from here.
    """
    job = os.environ["SLURM_JOB_ID"]
    try:
        command = ["scontrol", "show", "job", "--oneliner", job]
        text = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        text = ""
    if "JobState=RUNNING" in text:
        if not re.search(r"PreemptTime=\d", text):
            return  # the signal came from somebody else
        subprocess.run(["scontrol", "requeue", job], timeout=ASKED_SECONDS)
    sys.stdout.flush()
    sys.exit(INTERRUPTED)
