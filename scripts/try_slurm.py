"""Start a Slurm of two nodes on this machine and try in it what docs/cluster.md promises; print a table, take it down.

    apt-get install slurm-wlm munge
    python scripts/try_slurm.py                     every check, about ten minutes on two cores
    python scripts/try_slurm.py requeue torchrun    some of them: see CHECKS
    python scripts/try_slurm.py --accounts          with accounts, as most clusters keep (slurmdbd, mariadb-server)

It needs no root and leaves nothing behind. "To the bit" means: all of the last checkpoint, weights, optimizer,
generators and position, and every logged loss are those of a run by hand that never stopped.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from one_machine_slurm import Slurm, free_ports, missing, wait_for
from runs_in_slurm import Place, losses, resumed, same, status

# That of docs/cluster.md, for one process on each of two nodes.
TORCHRUN = """\
#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --requeue --open-mode=append --output={output}
stop() {{ scancel --signal=TERM $SLURM_JOB_ID.0; wait $step; scontrol requeue $SLURM_JOB_ID; }}
trap stop USR1
srun torchrun --nnodes $SLURM_NNODES --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:{port} \\
  --rdzv-id $SLURM_JOB_ID -m {words} & step=$!
wait $step
"""


def array(place: Place) -> str:
    """`train -m hydra/launcher=slurm seed=0,1,2`"""
    with place.launched("array", "seed=0,1,2", "trainer.max_steps=400") as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    runs = [file.parent for file in place.runs("array")]
    assert [status(run) for run in runs] == ["finished"] * 3
    jobs = {json.loads((run / "run.json").read_text())["environment"]["job"]["slurm"] for run in runs}
    assert len(jobs) == 3
    return "3 jobs of an array, 3 runs finished, exit code 0"


# -- a script for sbatch, as the guide has it ---


def _script(place: Place, group: str, partition: str, interrupt: Callable[[str], object]) -> str:
    place.whole()
    job = place.submit(place.script(group, "seed=1"), f"--partition={partition}")
    place.wait_until_it_trains(group)
    interrupt(job)
    assert place.slurm.wait_for_end(job) == "COMPLETED", place.log(group)
    return same(place.run(group), place.whole())


def requeue(place: Place) -> str:
    """sbatch script, `scontrol requeue`"""
    return _script(place, "requeue", "low", lambda job: place.slurm.ask("scontrol", "requeue", job))


def preempted(place: Place) -> str:
    """sbatch script, preempted by a higher partition"""
    return _script(place, "preempted", "low", lambda job: place.slurm.preempt(place.slurm.field(job, "NodeList")))


def grace(place: Place) -> str:
    """sbatch script, preempted with 30 s of grace"""
    return _script(place, "grace", "grace", lambda job: place.slurm.preempt(place.slurm.field(job, "NodeList")))


def dead_node(place: Place) -> str:
    """sbatch script, its node dies (slurmd and all it started)"""
    dead: list[str] = []

    def kill(job: str) -> None:
        checkpoints = place.run("dead_node") / "checkpoints"
        wait_for(lambda: any(checkpoints.glob("step-*")), "a checkpoint")
        dead.append(place.slurm.field(job, "NodeList"))
        place.slurm.kill_node(dead[0])

    try:
        return _script(place, "dead_node", "low", kill)
    finally:
        for node in dead:
            place.slurm.restart_node(node)


def cancelled(place: Place) -> str:
    """sbatch script, `scancel`"""
    job = place.submit(place.script("cancelled", "seed=1"), "--partition=low")
    place.wait_until_it_trains("cancelled")
    place.slurm.ask("scancel", job)
    assert place.slurm.wait_for_end(job) == "CANCELLED"
    run = place.run("cancelled")
    assert status(run) == "interrupted"
    place.call(sys.executable, "-m", "rnntrain", "resume", str(run))
    return f"stays cancelled, its run is saved; by `rnntrain resume`: {same(run, place.whole())}"


def time_limit(place: Place) -> str:
    """sbatch script and launcher, `--signal=USR1@45` and `signal_delay_s=45` before the limit of a minute"""
    steps = place.steps_of(seconds=90)
    words = ["seed=1", f"trainer.max_steps={steps}"]
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=45", "hydra.launcher.partition=low"]
    with place.launched("limit-launched", *words, *limit) as process:
        job = place.submit(place.script("limit", *words), "--partition=low", "--time=1", "--signal=USR1@45")
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert place.slurm.wait_for_end(job) == "COMPLETED", place.log("limit")
    whole = place.whole(steps=steps)
    return f"script: {same(place.run('limit'), whole)}; launcher: {same(place.run('limit-launched'), whole)}"


# -- jobs of the launcher ---


def _launched(place: Place, group: str, partition: str, interrupt: Callable[[str], object]) -> str:
    place.whole()
    with place.launched(group, "seed=1", f"hydra.launcher.partition={partition}") as process:
        place.wait_until_it_trains(group)
        interrupt(place.slurm.ask("squeue", "--noheader", "--format=%A", "--name=rnntrain"))
        output = process.communicate()[0]
    assert process.returncode == 0, output
    return same(place.run(group), place.whole())


def launcher_requeue(place: Place) -> str:
    """`hydra/launcher=slurm`, `scontrol requeue`"""
    return _launched(place, "l-requeue", "low", lambda job: place.slurm.ask("scontrol", "requeue", job))


def launcher_preempted(place: Place) -> str:
    """`hydra/launcher=slurm`, preempted by a higher partition"""
    return _launched(place, "l-preempted", "low", lambda job: place.slurm.preempt(place.slurm.field(job, "NodeList")))


def launcher_grace(place: Place) -> str:
    """`hydra/launcher=slurm`, preempted with 30 s of grace"""
    return _launched(place, "l-grace", "grace", lambda job: place.slurm.preempt(place.slurm.field(job, "NodeList")))


def launcher_cancelled(place: Place) -> str:
    """`hydra/launcher=slurm seed=1,2`, `scancel` of one job"""
    with place.launched("l-cancelled", "seed=1,2") as process:
        place.wait_until_it_trains("l-cancelled", 2)
        [job] = {line.partition("_")[0] for line in place.slurm.ask("squeue", "-h", "-o", "%F").split()}
        place.slurm.ask("scancel", f"{job}_0")
        output = process.communicate()[0]
    line = output.rstrip().splitlines()[-1]
    assert process.returncode == 2, output
    assert line.startswith(f"rnntrain: error: hydra/launcher=slurm: job {job}_0 (seed=1) has ended as CANCELLED"), line
    states = sorted(status(file.parent) for file in place.runs("l-cancelled"))
    assert states == ["finished", "interrupted"], states
    return f"exit code 2 after the other has finished; the line: `{line.replace(str(place.folder), '…')}`"


# -- several processes ---


def torchrun(place: Place) -> str:
    """`srun torchrun` on two nodes"""
    return _torchrun(place, "torchrun", None)


def torchrun_requeue(place: Place) -> str:
    """`srun torchrun` on two nodes, `scontrol requeue`"""
    return _torchrun(place, "t-requeue", lambda job: place.slurm.ask("scontrol", "requeue", job))


def torchrun_time_limit(place: Place) -> str:
    """`srun torchrun` on two nodes, the script's own signal (`--signal=B:USR1@…`)"""
    return _torchrun(place, "t-limit", lambda job: place.slurm.ask("scancel", "--batch", "--signal=USR1", job))


def _torchrun(place: Place, group: str, interrupt: Callable[[str], object] | None) -> str:
    whole = place.whole(processes=2)
    script = place.script(group, "seed=1", template=TORCHRUN, port=free_ports(1)[0])
    job = place.submit(script, "--partition=low")
    if interrupt is not None:
        place.wait_until_it_trains(group)
        interrupt(job)
    assert place.slurm.wait_for_end(job) == "COMPLETED", place.log(group)
    run = place.run(group)
    if interrupt is not None:
        return same(run, whole)
    assert losses(run) == losses(whole)
    assert status(run) == "finished"
    return "one run, written once, with the losses of two processes by hand"


# -- sweeps ---

SWEEP = ["optimizer.lr=choice(0.001,0.002,0.003,0.004)", "sweep.sampler=grid", "sweep.trials=4", "sweep.workers=1"]


def sweep_workers(place: Place) -> str:
    """`rnntrain sweep` as three jobs on one study"""
    words = [*SWEEP, "sweep.name=three", "trainer.max_steps=2000"]
    script = place.script("three", *words, verb="sweep")
    jobs = [place.submit(script, "--partition=low", f"--nodelist=n{1 + number % 2}") for number in range(3)]
    assert {place.slurm.wait_for_end(job) for job in jobs} == {"COMPLETED"}, place.log("three")
    runs = place.sweep_runs("three")
    assert [status(run) for run in runs] == ["finished"] * 4
    assert not any(resumed(run) for run in runs)
    by = {json.loads((run / "run.json").read_text())["environment"]["job"]["slurm"] for run in runs}
    assert len(by) > 1, "one job did it all"
    return f"4 points, 4 runs, none twice, by {len(by)} jobs"


def sweep_preempted(place: Place) -> str:
    """`rnntrain sweep` as one job, preempted by a higher partition"""
    words = ["optimizer.lr=choice(0.002,0.004)", "sweep.sampler=grid", "sweep.trials=2", "sweep.workers=1", "seed=1"]
    script = place.script("sweep", *words, "sweep.name=taken", verb="sweep")
    job = place.submit(script, "--partition=low", "--nodelist=n1")
    wait_for(lambda: any(losses(run) for run in place.sweep_runs("taken")), "steps of the sweep")
    place.slurm.preempt("n1")
    assert place.slurm.wait_for_end(job) == "COMPLETED", place.log("sweep")
    runs = place.sweep_runs("taken")
    assert [status(run) for run in runs] == ["finished"] * 2
    [broken_off] = [run for run in runs if resumed(run)]
    rate = place.config(broken_off)["optimizer"]["lr"]
    return f"2 points, 2 runs; the one under way {same(broken_off, place.whole(f'optimizer.lr={rate}'))}"


CHECKS = (
    array,
    requeue,
    preempted,
    grace,
    cancelled,
    dead_node,
    launcher_requeue,
    launcher_preempted,
    launcher_grace,
    launcher_cancelled,
    time_limit,
    torchrun,
    torchrun_requeue,
    torchrun_time_limit,
    sweep_workers,
    sweep_preempted,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {check.__name__: check for check in CHECKS}
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(names)}; all if left out")
    parser.add_argument("--accounts", action="store_true", help="keep accounts, in a database of its own")
    options = parser.parse_args()
    unknown = [name for name in options.checks if name not in names]
    if unknown:
        parser.error(f"{unknown[0]}: no such check; there are {', '.join(names)}")
    if lacking := missing():
        parser.error(f"{', '.join(lacking)}: not installed; run: apt-get install slurm-wlm munge")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and take the cluster down
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder, Slurm(Path(folder), options.accounts) as slurm:
        place = Place(Path(folder) / "work", slurm)
        for name in options.checks or names:
            began = time.monotonic()
            try:
                found = names[name](place)
            except Exception as error:
                failed, found = True, f"**fails**: {type(error).__name__}: {error}"
            rows.append(f"| {names[name].__doc__} | {found} |")
            print(f"{name}: {found} ({time.monotonic() - began:.0f} s)", flush=True)
    print("\n| what | measured |\n|---|---|", *rows, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
