"""Who waits for an answer, and what of their bodies is held: both are bounded, whatever clients send."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from rnntrain.serving.bodies import Refused
from rnntrain.serving.limits import Limits

BODIES = 8  # of the largest size that are held at once


class Places:
    """The places of those who wait.

    Attributes:
        waiting: how many are taken.
        held: bytes of their bodies.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting = 0
        self.held = 0

    def one(self) -> Place:
        """Return a place, to be taken and given back as a context."""
        return Place(self)


class Place:
    """One of the places, with what has been read of its request's body.

    Raises:
        Refused: on entry, if none is free.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held = 0

    def __enter__(self) -> Place:
        if self._places.waiting >= self._places.limits.max_waiting:
            raise Refused(503, f"{self._places.waiting} requests are waiting; come again in a second")
        self._places.waiting += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._places.waiting -= 1
        self._places.held -= self._held

    async def body(self, request: Request) -> bytes:
        """Return the body, read no further than the limits; its memory counts until the place is given back.

        Raises:
            Refused: it is too large, does not come in time, or the bodies of others take all the room.
        """
        limits = self._places.limits
        most = int(limits.max_megabytes * 1e6)
        too_large = Refused(413, f"the body has more than {limits.max_megabytes:g} MB; send less at once")
        promised = request.headers.get("content-length", "0")
        if not (promised.isascii() and promised.isdigit()):
            raise Refused(400, f"Content-Length: {promised[:20]!r} is no number")
        if int(promised[:20]) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > most:
                        raise too_large
                    self._hold(len(piece))
        except TimeoutError as error:
            raise Refused(408, f"the body did not come within {limits.timeout_seconds:g} s; send it at once") from error
        return bytes(body)

    def _hold(self, size: int) -> None:
        self._held += size
        self._places.held += size
        if self._places.held > BODIES * self._places.limits.max_megabytes * 1e6:
            raise Refused(503, "the bodies of others take all the room there is; come again in a second")
