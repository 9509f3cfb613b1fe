"""What a sweep came to: its leaderboard, pictures, files, and the commands to go on with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.comparing.front import front, front_lines
from rnntrain.comparing.groups import group, shown_value
from rnntrain.comparing.leaderboard import Leaderboard, Row, rank
from rnntrain.comparing.records import read_runs
from rnntrain.comparing.writing import number, to_csv, to_json, to_markdown, to_text
from rnntrain.errors import UserError
from rnntrain.sweeps.best import write_point
from rnntrain.sweeps.plan import Plan
from rnntrain.sweeps.storage import JOURNAL, without_password
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
    more = [direction == "maximize" for direction in study.directions]
    board = rank(group(read_runs([plan.folder / "runs"])), study.metrics, senses=more)
    pruned = sum(trial.state.name == "PRUNED" for trial in trials)
    lines = ["", f"{len(trials)} points: {len(complete)} completed, {pruned} pruned, {len(failed)} failed", ""]
    if len(study.metrics) == 1:
        lines += to_text(board, most_rows=MOST_ROWS)
        lines += _at_an_end(study)
        command = _best_command(study)
    else:
        rows = front(board)
        lines += front_lines(board, rows, [_front_name(study, row) for row in rows])
        lines += ["", f"Each is an experiment of that name in {plan.folder / 'conf'}."]
        command = _front_command(study, rows)
    if errors:
        lines += ["", "Failed:", *(f"  {error}" for error in errors)]
    files = _write_files(board, plan.folder)
    lines += ["", f"In {plan.folder}: {', '.join(files)}", "", "Next:", f"  {command}"]
    lines.append(f"  {dashboard_command(plan)}")
    lines.append(f"  tensorboard --logdir {shlex.quote(str(plan.folder / 'runs'))}")
    return lines


def _at_an_end(study: Study) -> list[str]:
    """Say where the best point lies at an end of what was searched: what lies beyond may be better."""
    best = study.best()
    assert best is not None
    point = study.trial(best[0]).params
    keys = [each.key for each in study.plan.space if each.is_near_an_end(point[each.key])]
    if not keys:
        return []
    values = ", ".join(f"{key}={shown_value(key, point[key])}" for key in keys)
    return [f"The best lies at an end of what was searched, {values}: a wider space may hold a better one."]


def _front_name(study: Study, row: Row) -> str:
    """Return what the experiment of a row's point is called: a row holds the runs of one point."""
    return f"{study.plan.name}-{row.group.runs[0].name.partition('-')[0]}"


def _front_command(study: Study, rows: Sequence[Row]) -> str:
    """Write each point of a front as an experiment; return the command that trains the first."""
    commands = []
    for row in rows:
        name = _front_name(study, row)
        values = ", ".join(f"{metric} {number(row.statistics[metric].mean)}" for metric in study.metrics)
        text = f"Of the sweep {study.plan.name}, not beaten in every metric by any other point: {values}"
        commands.append(write_point(study.plan, study.point(int(name.rpartition("-")[2])), text, name))
    return commands[0]


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
    return write_point(study.plan, study.point(best[0]), description)


def dashboard_command(plan: Plan) -> str:
    """Return the command that shows the sweep in a browser, also while it runs."""
    return f"optuna-dashboard {shlex.quote(without_password(plan.settings.storage or str(plan.folder / JOURNAL)))}"
