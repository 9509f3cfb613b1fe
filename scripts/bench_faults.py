"""Run the tests of faults, all of them or one group, and print the table for BENCHMARKS.md.

    python scripts/bench_faults.py            every group, about half an hour on two cores
    python scripts/bench_faults.py damage     one group alone: see GROUPS below

What the tests measured is also written to `faults.json` in the folder that --out names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
GROUPS = {
    "kill": ["tests/faults/test_kill.py", "-k", "killed or call_to_the_disk"],
    "signals": ["tests/faults/test_kill.py", "-k", "signal"],
    "power": ["tests/faults/test_power.py"],
    "damage": ["tests/faults/test_damage.py"],
    "hostile": [
        "tests/faults/test_hostile.py",
        "tests/faults/test_hostile_runs.py",
        "tests/faults/test_hostile_http.py",
    ],
    "malformed": ["tests/faults/test_malformed.py"],
    "disk": ["tests/faults/test_small_disk.py"],
    "resume": ["tests/faults/test_resume_tasks.py"],
    "several": ["tests/faults/test_several.py"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all if left out")
    parser.add_argument("--out", type=Path, help="a folder for faults.json")
    options = parser.parse_args()
    unknown = [group for group in options.groups if group not in GROUPS]
    if unknown:
        parser.error(f"{unknown[0]}: no such group; there are {', '.join(GROUPS)}")
    figures, failed = [], False
    for group in options.groups or GROUPS:
        code, seconds, passed, found = run(GROUPS[group])
        failed |= code != 0
        figures += [{"group": group, **figure} for figure in found]
        print(f"{group}: {passed} ({seconds:.0f} s){'' if code == 0 else ', FAILED'}", flush=True)
    print("\n| test | measured |\n|---|---|")
    for line in table(figures):
        print(line)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "faults.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(failed)


def run(arguments: list[str]) -> tuple[int, float, str, list[dict[str, Any]]]:
    """Run a group, slow tests too; return exit code, seconds, pytest's last line and what was written down."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-m", "slow or not slow", "-p", "no:cacheprovider", *arguments]
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "RNNTRAIN_FAULTS_REPORT": str(report), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        if done.returncode:
            print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        return done.returncode, time.monotonic() - began, last.strip("= "), [json.loads(line) for line in lines]


def table(figures: list[dict[str, Any]]) -> list[str]:
    """Return a line for each row that was measured."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        rows.setdefault(figure["row"], []).append(figure)
    lines = []
    if kills := rows.get("kill"):
        number, pairs = sum(f["kills"] for f in kills), len(kills)
        lost = sorted(f["lost"] for f in kills)
        lines.append(
            f"| kill -9 at random instants | {number} kills over {pairs} pairs of task and cell family: 0 unreadable, "
            f"all later losses and final weights identical to the bit; steps lost at most {lost[-1]} (promised: "
            f"{kills[0]['every']}), median {lost[len(lost) // 2]} |"
        )
    for f in rows.get("power", []):
        lines.append(
            f"| power fails at each of {f['calls']} calls of a save ({f['name']}) | {f['states']} states, un-synced "
            f"data dropped: old or new every time, new from the return on; {f['lost']} lost |"
        )
    for f in rows.get("damage", []):
        lines.append(f"| damage: {f['name']} | {f['tried']} tried, {f['silent']} silent |")
    for f in rows.get("signals", []):
        lines.append(f"| {f['name']} at random instants | {f['signals']}: saved {f['late']} steps late at most |")
    for f in rows.get("disk", []):
        lines.append(f"| {f['name']} | {f['points']} points: {f['outcome']} |")
    if resumed := rows.get("resume"):
        number, runs = (sum(f[key] for f in resumed) for key in ("resumes", "runs"))
        lines.append(
            f"| resume to the bit | {len(resumed)} pairs of task and cell family, stopped once, five times and at a "
            f"limit that was raised: {number} resumes of {runs} runs, all identical to the run that never stopped |"
        )
    for row in ("hostile", "malformed"):
        if cases := rows.get(row):
            slowest, largest = (max(cases, key=lambda f, key=key: f[key]) for key in ("seconds", "megabytes"))
            lines.append(
                f"| {row} input | {len(cases)} cases: 0 executed, 0 written outside; at most "
                f"{slowest['seconds']:.1f} s ({slowest['name']}) and {largest['megabytes']:.0f} MB "
                f"({largest['name']}) |"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
