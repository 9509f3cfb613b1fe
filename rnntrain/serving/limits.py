"""What one client may ask for, so that no request is endless and no client shuts out the others."""

from __future__ import annotations

from dataclasses import dataclass

from rnntrain.ranges import PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        max_megabytes: of the body of a request.
        max_inputs: inputs of one request.
        max_steps: steps of one input: signs, tokens, frames of sound, rows.
        max_length: tokens of one sample, and steps of one forecast.
        max_waiting: requests that wait or run at once; the next is told to come again.
        timeout_seconds: after which a request that is not answered is given up.
    """

    max_megabytes: PositiveFloat = 16.0
    max_inputs: PositiveInt = 1000
    max_steps: PositiveInt = 100_000
    max_length: PositiveInt = 10_000
    max_waiting: PositiveInt = 256
    timeout_seconds: PositiveFloat = 60.0
