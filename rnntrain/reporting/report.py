"""Write a report: what `rnntrain report` calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.comparing.records import RunRecord, read_runs
from rnntrain.errors import UserError

MOST_RUNS = 500


def write_report(paths: Sequence[Path], out: Path | None, pictures: Path | None, metric: str | None) -> list[str]:
    """Write the page of the runs at and below `paths`; return lines to print.

    Args:
        out: the file; `report.html` in the one run's folder, or in the working directory for several, if left out.
        pictures: a folder for the curves as PNG files, and copies of the runs' pictures; none if left out.
        metric: what several runs are ordered by; what most of them chose their best weights by if left out.

    Raises:
        UserError: there is no run, too many, no such metric, or the file cannot be written.
    """
    records = read_runs(paths)
    if len(records) > MOST_RUNS:
        raise UserError(f"{len(records):,} runs: a page holds at most {MOST_RUNS}; name fewer of them")
    out = out or (records[0].path if len(records) == 1 else Path()) / "report.html"
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / 'report.html'}")
    page = _page(records, metric)
    with durable.one_line(out):
        durable.replace_file(out, page.encode(errors="replace"))
    lines = [f"{out}: {len(records)} run{'s' if len(records) > 1 else ''}, {out.stat().st_size / 1e6:.1f} MB"]
    if pictures is not None:
        from rnntrain.reporting.picture_files import write_pictures

        lines += [f"{pictures}: {write_pictures(records, pictures)} pictures"]
    return lines


def _page(records: Sequence[RunRecord], metric: str | None) -> str:
    if len(records) == 1:
        if metric is not None:
            raise UserError(f"--metric {metric}: orders several runs, and this is one; leave it out")
        from rnntrain.reporting.one_run import one_run

        return one_run(records[0])
    from rnntrain.reporting.several_runs import several_runs

    return several_runs(records, metric)
