"""What stands between a waveform and a model: features, and their normalisation as fitted on the training split."""

# S samples, T steps, D features of a step, M features of a frame

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any, Literal

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.speech.features import Extractor, FeatureSettings
from rnntrain.errors import UserError

Normalization = Literal["utterance", "train", "none"]
LEAST_STD = 1e-3  # below it a feature is constant, and dividing would make noise of rounding


class Frontend(Codec):
    """Computes features and normalises them.

    Args:
        settings: what is measured of a waveform.
        normalize: "utterance" gives each feature mean 0 and standard deviation 1 over each utterance by itself;
            "train" uses those of the training split, which are the two arrays; "none" leaves features as they are.

    The transcript's and the class label's codec each hold one, so that a checkpoint alone can read a waveform.
    """

    def __init__(
        self,
        settings: FeatureSettings,
        normalize: Normalization = "utterance",
        mean_M: np.ndarray | None = None,
        std_M: np.ndarray | None = None,
    ) -> None:
        self.settings = settings
        self.normalize = normalize
        self.mean_M, self.std_M = mean_M, std_M
        self.extract = Extractor(settings)

    @classmethod
    def fit(cls, settings: FeatureSettings, normalize: Normalization, raw: Iterable[np.ndarray]) -> Frontend:
        """Take mean and deviation of the training split's features, where these are what is used.

        Args:
            raw: features as `Extractor` gives them; read only for "train".
        """
        if normalize != "train":
            return cls(settings, normalize)
        count, total_M, squares_M = 0, np.zeros(settings.frame_features), np.zeros(settings.frame_features)
        for x_TD in raw:
            x_TM = x_TD.reshape(-1, settings.frame_features).astype(np.float64)
            count, total_M, squares_M = count + len(x_TM), total_M + x_TM.sum(0), squares_M + (x_TM**2).sum(0)
        mean_M = total_M / max(count, 1)
        variance_M = np.maximum(squares_M / max(count, 1) - mean_M**2, 0)
        return cls(settings, normalize, mean_M, np.maximum(np.sqrt(variance_M), LEAST_STD))

    def __call__(self, samples_S: np.ndarray) -> np.ndarray:
        """Return the normalised features ``x_TD`` of a waveform, in float32."""
        return self.normalized(self.extract(samples_S))

    def normalized(self, x_TD: np.ndarray) -> np.ndarray:
        x_TM = x_TD.reshape(-1, self.settings.frame_features)
        if self.normalize == "none" or not len(x_TM):
            return x_TD
        if self.normalize == "train":
            assert self.mean_M is not None
            assert self.std_M is not None
            mean_M, std_M = self.mean_M.astype(np.float32), self.std_M.astype(np.float32)
        else:
            mean_M, std_M = x_TM.mean(0), np.maximum(x_TM.std(0), LEAST_STD)
        return ((x_TM - mean_M) / std_M).reshape(x_TD.shape)

    @property
    def num_features(self) -> int:
        """Width D of the model's input."""
        return self.settings.num_features

    def state_dict(self) -> dict[str, Any]:
        fitted = {"mean": self.mean_M, "std": self.std_M} if self.normalize == "train" else {}
        return {
            "kind": "audio",
            "features": asdict(self.settings),
            "normalize": self.normalize,
            **{name: value.tolist() for name, value in fitted.items() if value is not None},
        }

    @classmethod
    def from_state(cls, state: Any) -> Frontend:
        """Build it from what `state_dict` gave; nothing in it is trusted."""
        if not isinstance(state, dict) or not isinstance(state.get("features"), dict):
            raise damaged("`features` must be a table of settings")
        try:
            settings = _settings(state["features"])
        except UserError as error:
            raise damaged(str(error)) from error
        normalize = state.get("normalize")
        if normalize not in ("utterance", "train", "none"):
            raise damaged(f"`normalize` must be utterance, train or none, not {normalize!r}")
        if normalize != "train":
            return cls(settings, normalize)
        mean_M, std_M = (_numbers(state.get(name), settings.frame_features, name) for name in ("mean", "std"))
        if (std_M <= 0).any():
            raise damaged("`std` must be above 0")
        return cls(settings, "train", mean_M, std_M)


def _settings(values: dict[str, Any]) -> FeatureSettings:
    names = {field.name for field in fields(FeatureSettings)}
    whole = {"sample_rate", "num_mels", "num_cepstra", "stack"}
    if values.keys() != names or values["kind"] not in ("log_mel", "mfcc"):
        raise damaged("`features` must have the settings of features, and no others")
    for name in names - {"kind"}:
        value = values[name]
        if name == "high_hz" and value is None:
            continue
        if type(value) not in ((int,) if name in whole else (int, float)) or not 0 <= value < 1e6:
            raise damaged(f"`features.{name}` is no sensible number")
        if name in whole and value < 1:
            raise damaged(f"`features.{name}` must be at least 1")
    return FeatureSettings(**values)


def _numbers(values: Any, length: int, name: str) -> np.ndarray:
    if not isinstance(values, list) or len(values) != length or any(type(v) not in (int, float) for v in values):
        raise damaged(f"`{name}` must be {length} numbers")
    array = np.array(values, np.float64)
    if not np.isfinite(array).all():
        raise damaged(f"`{name}` must be finite")
    return array


def damaged(what: str) -> UserError:
    return UserError(f"the speech codec's saved state is damaged: {what}; use another checkpoint")
