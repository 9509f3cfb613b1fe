"""An utterance as CTC reads it: its features, and beneath them which symbol is likely when."""

# T steps, F frames, M features of a frame, V outputs

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from rnntrain.data.speech.transcripts import TranscriptCodec
from rnntrain.tasks.ctc_decoding import BLANK, spans
from rnntrain.watching.pictures import COLOURS, new_figure


def alignment(x_TD: np.ndarray, log_probs_TV: np.ndarray, codec: TranscriptCodec, reference: str) -> Figure:
    """Draw the normalised features over time, the symbols of the best path where they stand, and probabilities."""
    settings = codec.frontend.settings
    x_FM = x_TD.reshape(-1, settings.frame_features)
    seconds = len(x_TD) * settings.step_seconds
    time_T = (np.arange(len(x_TD)) + 0.5) * settings.step_seconds
    figure = new_figure(8.0, 4.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.grid(False)
    above.imshow(x_FM.T, origin="lower", aspect="auto", cmap="magma", extent=(0.0, seconds, 0.0, x_FM.shape[1]))
    above.set_ylabel("mel band" if settings.kind == "log_mel" else "cepstrum")
    above.set_title(f"“{reference}”", loc="left")
    probs_TV = np.exp(log_probs_TV)
    below.plot(time_T, probs_TV[:, BLANK], color="0.7", linestyle="--", label="blank")
    found = spans(log_probs_TV)
    for number, symbol in enumerate(dict.fromkeys(symbol for symbol, _, _ in found)):
        below.plot(time_T, probs_TV[:, symbol], color=COLOURS[number % len(COLOURS)])
    for symbol, first, after in found:
        middle = (first + after) / 2 * settings.step_seconds
        name = "␣" if codec.symbols[symbol - 1] == " " else codec.symbols[symbol - 1]
        below.annotate(name, (middle, 1.02), ha="center", va="bottom", annotation_clip=False)
        above.axvline(middle, color="white", alpha=0.5, linewidth=0.8)
    below.set_ylim(0.0, 1.2)
    below.set_ylabel("probability")
    below.set_xlabel("seconds")
    # Above both, where it covers neither a symbol nor a curve.
    handles, labels = below.get_legend_handles_labels()
    above.legend(handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.2)
    return figure
