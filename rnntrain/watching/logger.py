"""What a run shows and writes while it trains: progress bar or plain lines, TensorBoard, metrics.jsonl."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rnntrain.runs.shown_pictures import file_name, keep_picture
from rnntrain.runs.shown_texts import append_texts
from rnntrain.watching import hparams

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

BAR_SECONDS = 0.5  # between two drawings of the bar
LINE_SECONDS = 10.0  # between two plain lines where there is no terminal
PICTURE_SECONDS = 60.0  # between two sets of pictures, each of which takes some tenths of a second to draw
FIRST_PICTURE_SECONDS = 10.0  # before the first set; a run that is over before only draws its end
# TensorBoard's tab "custom scalars": what belongs together in one chart.
LAYOUT = {
    "learning": {"loss": ["Multiline", ["^train/loss$", "^val/loss$"]], "metrics": ["Multiline", ["^val/(?!loss)"]]},
    "training": {
        "gradient": ["Multiline", ["^train/(grad_norm|clipped)$"]],
        "learning rate": ["Multiline", ["^train/lr$"]],
    },
    "costs": {
        "speed": ["Multiline", ["^cost/.*per_second$"]],
        "waits": ["Multiline", ["^cost/data_wait$"]],
        "memory": ["Multiline", ["^cost/memory"]],
    },
}
LINE_LIMIT_BYTES = 1 << 16  # of one line of metrics.jsonl


class Logger:
    """Writes scalars and texts to TensorBoard and `metrics.jsonl`, and shows progress on standard error.

    Args:
        metrics_path: the run's `metrics.jsonl`; lines are appended.
        tensorboard_dir: the folder of the run's events.
        unit: what a time step is called, for the speed.
        resumed_at: the step at which a resumed run goes on, None for a new one. TensorBoard then forgets points of
            later steps, which would otherwise stand there twice, and a last line that was only written because the
            run ended there is dropped.
        quiet: show nothing.
        texts_path: the run's `texts.jsonl`; texts go to TensorBoard alone without one.
        hyperparameters: by dotted key, for TensorBoard's HParams tab.
        pictures_over_time: the folder that keeps a few moments of each picture; TensorBoard alone has them without one.
    """

    def __init__(
        self,
        metrics_path: Path,
        tensorboard_dir: Path,
        *,
        unit: str = "steps",
        resumed_at: int | None = None,
        quiet: bool = False,
        texts_path: Path | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        pictures_over_time: Path | None = None,
    ) -> None:
        if resumed_at is not None:
            _drop_final_line(metrics_path)
        self._metrics: TextIO = metrics_path.open("a", encoding="utf-8")
        self._tensorboard_dir = tensorboard_dir
        self._texts_path = texts_path
        self._hyperparameters = dict(hyperparameters or {})
        self._over_time = pictures_over_time
        self._purge_step = None if resumed_at is None else resumed_at + 1
        self._writer: SummaryWriter | None = None
        self._quiet = quiet
        self._bar = ProgressBar(unit) if sys.stderr.isatty() and not quiet else None
        self._unit = unit
        self._shown_at = -math.inf
        self._line_at = -math.inf
        self._pictures_due_at = time.monotonic() + FIRST_PICTURE_SECONDS
        self._last_step = resumed_at or 0
        self._first_progress: tuple[float, float] | None = None

    def scalars(self, step: int, scalars: dict[str, float], final: bool = False) -> None:
        """Write scalars by name, such as `train/loss`: one line of metrics.jsonl, one point each in TensorBoard.

        A line has `"final": true` where only the end of the run gave rise to it.
        """
        line = {"step": step} | {name: _json_number(value) for name, value in scalars.items()}
        self._metrics.write(json.dumps(line | ({"final": True} if final else {})) + "\n")
        self._metrics.flush()
        self._last_step = step
        writer = self._tensorboard()
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)

    def texts(self, step: int, texts: dict[str, str], final: bool = False) -> None:
        """Write texts by title to `texts.jsonl`, and to TensorBoard as they are, line breaks included."""
        if self._texts_path is not None and texts:
            append_texts(self._texts_path, step, texts, final)
        for title, text in texts.items():
            self._tensorboard().add_text(
                f"final/{title}" if final else title, "    " + text.replace("\n", "\n    "), step
            )

    def pictures(self, step: int, pictures: Mapping[str, Figure], folder: Path | None = None) -> None:
        """Write pictures by title to TensorBoard, and as PNG files into `folder` or among those over time."""
        if not pictures:
            return
        from rnntrain.watching.pictures import pixels  # brings matplotlib

        for title, figure in pictures.items():
            pixels_HWC = pixels(figure)
            self._tensorboard().add_image(title, pixels_HWC, step, dataformats="HWC")
            if folder is not None:
                folder.mkdir(exist_ok=True)
                figure.savefig(folder / f"{file_name(title)}.png", dpi=120)
            elif self._over_time is not None:
                keep_picture(self._over_time, title, step, pixels_HWC)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Write how values are spread to TensorBoard; those that are not finite are left out."""
        for name, each in values.items():
            finite = each[each.isfinite()].float()
            if finite.numel():
                self._tensorboard().add_histogram(name, finite, step)

    def sounds(self, step: int, sounds: Mapping[str, tuple[np.ndarray, int]]) -> None:
        """Write sounds to TensorBoard: samples between -1 and 1, and their rate in hertz, by title."""
        for title, (samples_S, rate) in sounds.items():
            self._tensorboard().add_audio(f"sound/{title}", samples_S[None], step, sample_rate=rate)

    def pictures_due(self) -> bool:
        """Say whether it is time to draw pictures again."""
        now = time.monotonic()
        if now < self._pictures_due_at:
            return False
        self._pictures_due_at = now + PICTURE_SECONDS
        return True

    def progress(self, step: int, share: float, loss: float, clipped: float, speed: float) -> None:
        """Show how far the run is; `share` is the part of it that is done."""
        if self._bar is not None:
            self._bar.draw(step, share, loss, clipped, speed)
        elif not self._quiet:
            speed_left = f"{speed:,.0f} {self._unit}/s{self._time_left(share)}"
            self._line(f"step {step:,}: loss {loss:.4f}, clipped {clipped:.0%}, {speed_left}")

    def _time_left(self, share: float) -> str:
        """Return the time to the end at the mean speed of this process so far."""
        now = time.monotonic()
        if self._first_progress is None:
            self._first_progress = now, share
        began, share_before = self._first_progress
        if share <= share_before:
            return f", {share:.0%} done"
        seconds = round((now - began) * (1 - share) / (share - share_before))
        return f", {share:.0%} done, {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def progress_due(self) -> bool:
        """Say whether it is time to show progress again; cheap enough to ask at every step."""
        now = time.monotonic()
        if self._quiet or now - self._shown_at < (BAR_SECONDS if self._bar is not None else LINE_SECONDS):
            return False
        self._shown_at = now
        return True

    def message(self, text: str) -> None:
        """Show a line that stays."""
        if self._bar is not None:
            self._bar.write(text)
        elif not self._quiet:
            self._line(text)

    def finished(self, metrics: Mapping[str, float], monitor: str) -> None:
        """Write what TensorBoard's HParams tab shows of a finished run into its own events, as one run.

        Args:
            metrics: final ones by name.
            monitor: the scalar whose last value runs show that have not finished.
        """
        writer = self._tensorboard()
        assert writer.file_writer is not None
        final = {f"final/{name}": value for name, value in metrics.items()}
        for summary in hparams.final_summaries(self._hyperparameters, final, monitor):
            writer.file_writer.add_summary(summary, self._last_step)
        for name, value in final.items():
            writer.add_scalar(name, value, self._last_step)
        writer.flush()
        hparams.end_session(self._tensorboard_dir)

    def warning(self, text: str) -> None:
        """Show a line that even a quiet run shows."""
        line = f"rnntrain: warning: {text}"
        if self._bar is not None:
            self._bar.write(line)
        else:
            self._line(line)

    def flush(self) -> None:
        """Hand everything logged so far to the system, which keeps it if this process dies."""
        self._metrics.flush()
        if self._writer is not None:
            self._writer.flush()

    def sync(self) -> None:
        """Put the metrics that were flushed on the disk, where they outlast the power; may run beside the training."""
        os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Write out everything and take the bar away."""
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()
        self._metrics.close()

    def _tensorboard(self) -> SummaryWriter:
        if self._writer is None:  # imported here, so that the first step does not wait for it
            from torch.utils.tensorboard import SummaryWriter

            is_first = not any(self._tensorboard_dir.glob("*tfevents*"))
            self._writer = SummaryWriter(str(self._tensorboard_dir), purge_step=self._purge_step)
            hparams.write_session(self._tensorboard_dir, self._hyperparameters)
            if is_first:  # it stands once, however often a run is resumed
                self._writer.add_custom_scalars(LAYOUT)
        return self._writer

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class ProgressBar:
    """A tqdm bar over steps whose total is estimated from the share that is done, so that any limit drives it."""

    def __init__(self, unit: str) -> None:
        from tqdm import tqdm

        self._unit = unit
        self._bar = tqdm(total=None, unit="step", dynamic_ncols=True, mininterval=0, miniters=1, leave=False)

    def draw(self, step: int, share: float, loss: float, clipped: float, speed: float) -> None:
        if self._bar.n == 0:
            self._bar.initial = step  # a resumed run's speed counts from where it goes on
        self._bar.total = max(step, round(step / share)) if share > 0 else None
        self._bar.n = step
        self._bar.set_postfix_str(f"loss {loss:.4f}, clipped {clipped:.0%}, {speed:,.0f} {self._unit}/s", refresh=False)
        self._bar.refresh()

    def write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def _drop_final_line(path: Path) -> None:
    """Cut off a last line that says it was final: the run goes on."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LINE_LIMIT_BYTES))
        line = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
        if line.endswith(b'"final": true}'):
            file.truncate(size - len(line) - 1)


def _json_number(value: float) -> float | str:
    # JSON has no NaN or infinity; as texts, every reader can tell them.
    return value if math.isfinite(value) else str(value)
