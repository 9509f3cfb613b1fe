"""Shares of the data that are kept from training."""

from __future__ import annotations

from rnntrain.errors import UserError


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        UserError: they come to 1 or more.
    """
    if val_fraction + test_fraction >= 1:
        raise UserError(
            f"data.val_fraction={val_fraction:g} and data.test_fraction={test_fraction:g} leave nothing to train on; "
            "lower them to a sum below 1"
        )
