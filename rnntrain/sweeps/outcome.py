"""What a sweep came to: its leaderboard, pictures, files, and the commands to go on with."""

from __future__ import annotations

import shlex
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.comparing.groups import group
from rnntrain.comparing.leaderboard import Leaderboard, rank
from rnntrain.comparing.records import read_runs
from rnntrain.comparing.writing import number, to_csv, to_json, to_markdown, to_text
from rnntrain.errors import UserError
from rnntrain.sweeps.best import write_best
from rnntrain.sweeps.plan import Plan
from rnntrain.sweeps.space import as_override
from rnntrain.sweeps.storage import JOURNAL
from rnntrain.sweeps.study import Study

MOST_ROWS = 10  # of the leaderboard that is printed; the files have all


def outcome_lines(study: Study) -> list[str]:
    """Write what a sweep came to into its folder; return what is printed of it.

    Raises:
        UserError: no point was completed.
    """
    plan, trials = study.plan, study.standing()
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    errors = [f"{trial.number:04}: {trial.user_attrs.get('error', 'failed')}" for trial in failed]
    if not complete:
        first = f": {errors[0]}" if errors else ""
        raise UserError(f"{plan.folder}: no point was completed{first}")
    board = rank(group(read_runs([plan.folder / "runs"])), study.metrics)
    pruned = sum(trial.state.name == "PRUNED" for trial in trials)
    lines = ["", f"{len(trials)} points: {len(complete)} completed, {pruned} pruned, {len(failed)} failed", ""]
    if len(study.metrics) == 1:
        lines += to_text(board, most_rows=MOST_ROWS)
    else:
        lines += _front(study)
    if errors:
        lines += ["", "Failed:", *(f"  {error}" for error in errors)]
    files = _write_files(board, plan.folder)
    lines += ["", f"In {plan.folder}: {', '.join(files)}", "", "Next:"]
    if len(study.metrics) == 1:
        lines.append(f"  {_best_command(study)}")
    lines.append(f"  {dashboard_command(plan)}")
    lines.append(f"  tensorboard --logdir {shlex.quote(str(plan.folder / 'runs'))}")
    return lines


def _front(study: Study) -> list[str]:
    """Return the points that no other beats in every metric."""
    rows = [["point", *study.metrics, ""]]
    for trial in sorted(study.study.best_trials, key=lambda trial: trial.values):
        point = " ".join(as_override(key, value) for key, value in trial.params.items())
        rows.append([f"{trial.number:04}", *map(number, trial.values), point])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return ["Points that no other beats in every metric:", *(f"  {line}" for line in table)]


def _write_files(board: Leaderboard, folder: Path) -> list[str]:
    """Write tables and pictures; return their names in the folder."""
    texts = {"leaderboard.csv": to_csv(board), "leaderboard.json": to_json(board), "leaderboard.md": to_markdown(board)}
    with durable.one_line(folder):
        for name, text in texts.items():
            durable.replace_file(folder / name, text.encode())
    drawn = _draw(board, folder / "pictures") if board.keys and len(board.finished) > 1 else []
    return [*texts, *(str(path.relative_to(folder)) for path in drawn)]


def _draw(board: Leaderboard, folder: Path) -> list[Path]:
    from rnntrain.comparing.pictures import draw_all

    return draw_all(board, folder)


def _best_command(study: Study) -> str:
    best = study.best()
    assert best is not None
    value, seeds = number(best[1]), len(study.plan.seeds)
    over = f", the mean of {seeds} seeds" if seeds > 1 else ""
    description = f"Best of the sweep {study.plan.name}, point {best[0]:04}: {study.metrics[0]} {value}{over}"
    point = study.trial(best[0]).params
    return write_best(study.plan, {dimension.key: point[dimension.key] for dimension in study.plan.space}, description)


def dashboard_command(plan: Plan) -> str:
    """Return the command that shows the sweep in a browser, also while it runs."""
    return f"optuna-dashboard {shlex.quote(plan.settings.storage or str(plan.folder / JOURNAL))}"
