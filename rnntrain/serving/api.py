"""The routes of the HTTP API: what is asked, what is answered, and every refusal as one line of JSON."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rnntrain.configuring.checking import check_value
from rnntrain.data.codecs import TextCodec
from rnntrain.errors import UserError
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.predictor import Predictor, Record
from rnntrain.sample import SamplingOptions
from rnntrain.serving.bodies import Refused, object_of, raw_inputs
from rnntrain.serving.counters import Counters
from rnntrain.serving.drawing import Drawing, Text
from rnntrain.serving.limits import Limits
from rnntrain.serving.worker import Worker
from rnntrain.using import Loaded

PAGE = Path(__file__).with_name("page.html")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
DRAWN = ("length", "temperature", "top_k", "top_p", "seed")  # options of a sample that a client may set
OUR_FAULT = "a fault of the server; its log says more"
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass
class Service:
    """A trained model as it is served.

    Attributes:
        only_local: answer only requests that were meant for this machine, as a page of another site is not, whose
            name has been made to lead here.
    """

    run: Loaded
    limits: Limits
    only_local: bool = True
    counters: Counters = field(default_factory=Counters)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.predictor: Predictor = self.run.predictor()
        codec = self.run.codec
        generates = self.run.task.generates and isinstance(codec, TextCodec)
        self.drawing = Drawing(self.run.model, codec) if generates else None
        self.worker = Worker(self.drawing, self.counters)
        self.html = PAGE.read_text(encoding="utf-8")

    def about(self) -> dict[str, Any]:
        """Return what a client needs to know of the model."""
        about: dict[str, Any] = {
            "task": self.run.config.task.cls.__name__,
            "cell": self.run.config.cell_names,
            "parameters": sum(p.numel() for p in self.run.model.parameters()),
            "kind": self.predictor.kind,
            "samples": self.drawing is not None,
            "fields": list(self.predictor.fields),
            "limits": asdict(self.limits),
        }
        if isinstance(self.predictor, ForecastPredictor):
            layout = self.predictor.layout
            about |= {"horizon": layout.horizon, "window": layout.window, "targets": layout.targets}
        return about


def application(service: Service) -> Starlette:
    """Return the application of a service, whose worker must be entered beside it."""
    routes = {
        "/": ("GET", _page),
        "/health": ("GET", _health),
        "/metrics": ("GET", _metrics),
        "/model": ("GET", _model),
        "/predict": ("POST", _predict),
        "/sample": ("POST", _sample),
    }
    app = Starlette(
        routes=[Route(path, _guarded(path, handler), methods=[method]) for path, (method, handler) in routes.items()],
        exception_handlers={HTTPException: _refusal},
    )
    app.state.service = service
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _guarded(path: str, handler: Handler) -> Handler:
    """Answer mistakes by one line, count every answer, and turn away what is too much."""

    async def answer(request: Request) -> Response:
        service = _service(request)
        started = time.perf_counter()
        try:
            _check_host(service, request)
            response = await handler(request)
        except Refused as error:
            response = _error(error.status, str(error))
        except UserError as error:
            response = _error(422, str(error))
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            response = _error(500, OUR_FAULT)
        service.counters.add("requests_total", path=path, status=response.status_code)
        service.counters.add("request_seconds_total", time.perf_counter() - started, path=path)
        return response

    return answer


def _error(status: int, message: str) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse({"error": message}, status, headers)


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer what no route takes in the form of every other refusal."""
    assert isinstance(error, HTTPException)
    paths = "/, /health, /metrics, /model, /predict and /sample"
    said = {404: f"{request.url.path[:80]}: no such path; there are {paths}", 405: "the path takes another method"}
    response = _error(error.status_code, said.get(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


def _check_host(service: Service, request: Request) -> None:
    name = re.sub(r":\d+$", "", request.headers.get("host", ""))
    if service.only_local and name not in LOOPBACK:
        raise Refused(421, f"{name[:80]!r} is not this machine; ask for localhost")


# -- looking ---


async def _page(request: Request) -> Response:
    html = _service(request).html
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'"
    headers = {
        "Content-Security-Policy": f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, headers=headers)


async def _health(request: Request) -> Response:
    alive = _service(request).worker.alive
    return JSONResponse({"status": "ok" if alive else "the model has stopped"}, 200 if alive else 503)


async def _metrics(request: Request) -> Response:
    service = _service(request)
    gauges = {"requests_waiting": float(service.waiting), "texts_drawing": float(service.worker.num_texts)}
    return PlainTextResponse(service.counters.text(gauges), media_type="text/plain; version=0.0.4")


async def _model(request: Request) -> Response:
    return JSONResponse(_service(request).about())


# -- asking ---


class _Place:
    """One of the places of those who wait; taken and given back as a context.

    Raises:
        Refused: on entry, if none is free.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def __enter__(self) -> None:
        if self.service.waiting >= self.service.limits.max_waiting:
            raise Refused(503, f"{self.service.waiting} requests are waiting; come again in a second")
        self.service.waiting += 1

    def __exit__(self, *_: object) -> None:
        self.service.waiting -= 1


async def _body(request: Request, limits: Limits) -> bytes:
    """Return the body, read no further than the limit."""
    most = int(limits.max_megabytes * 1e6)
    too_large = Refused(413, f"the body has more than {limits.max_megabytes:g} MB; send less at once")
    if int(request.headers.get("content-length", "0") or 0) > most:
        raise too_large
    body = bytearray()
    async with asyncio.timeout(limits.timeout_seconds):
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise too_large
    return bytes(body)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _predict(request: Request) -> Response:
    service = _service(request)
    with _Place(service):
        try:
            async with asyncio.timeout(service.limits.timeout_seconds):
                records = await _records(service, request)
        except TimeoutError as error:
            raise Refused(504, f"not done after {service.limits.timeout_seconds:g} s; send fewer inputs") from error
    return JSONResponse({"outputs": records})


async def _records(service: Service, request: Request) -> list[Record]:
    predictor = service.predictor
    if "horizon" in request.query_params:
        predictor = _ahead(predictor, request.query_params["horizon"], service.limits)
    body = await _body(request, service.limits)

    def encode() -> list[Any]:
        raw = raw_inputs(predictor, service.run.config.data.arguments, _kind(request), body, service.limits)
        return [predictor.example(each, f"input {number}") for number, each in enumerate(raw, 1)]

    examples = await asyncio.to_thread(encode)  # features of sound take long, and others wait for this thread
    if isinstance(predictor, ForecastPredictor) and predictor.draws_paths:
        _check_steps(len(examples) * predictor.horizon, service.limits)
    return await asyncio.wrap_future(service.worker.ask(predictor, examples))


def _check_steps(steps: int, limits: Limits) -> None:
    """Refuse to draw the paths of many long forecasts: nobody else would be answered meanwhile."""
    if steps > limits.max_length:
        raise Refused(
            413, f"{steps:,} steps in all, beyond the trained horizon: at most {limits.max_length:,}; send fewer inputs"
        )


def _ahead(predictor: Predictor, text: str, limits: Limits) -> Predictor:
    if not isinstance(predictor, ForecastPredictor):
        raise Refused(400, "horizon: only a forecasting model has one; leave it out")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= limits.max_length:
        raise Refused(400, f"horizon={text[:20]}: expected a whole number from 1 to {limits.max_length:,}")
    return predictor if int(text) == predictor.horizon else predictor.ahead(int(text))


async def _sample(request: Request) -> Response:
    service = _service(request)
    if service.drawing is None:
        raise Refused(400, f"a model trained for {service.run.config.task.cls.__name__} writes no text; use /predict")
    if _kind(request) != "application/json":
        raise Refused(415, "send a JSON object with the content type application/json")
    known = {"prompt": "a text", "stream": "true or false", **dict.fromkeys(DRAWN, "a number")}
    asked = object_of(await _body(request, service.limits), known)
    prompt, stream = asked.get("prompt", ""), asked.get("stream", False)
    if not isinstance(prompt, str) or not isinstance(stream, bool):
        raise Refused(400, "prompt must be a text, and stream true or false")
    options = _options(asked, service.limits)
    service.drawing.codec.check_prompt(prompt)
    pieces = _pieces(service, prompt, options)
    if stream:
        first = await anext(pieces)  # so that a refusal still has its status
        return StreamingResponse(_events(first, pieces), media_type="text/event-stream", headers=_NOT_KEPT)
    return JSONResponse({"text": "".join([piece async for piece in pieces])})


_NOT_KEPT = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _options(asked: dict[str, Any], limits: Limits) -> SamplingOptions:
    hints = get_type_hints(SamplingOptions, include_extras=True)
    given = {name: check_value(name, hints[name], asked[name]) for name in DRAWN if name in asked}
    options = SamplingOptions(**given)
    if options.length > limits.max_length:
        raise Refused(413, f"length={options.length:,}: at most {limits.max_length:,} tokens in one request")
    return options


async def _pieces(service: Service, prompt: str, options: SamplingOptions) -> AsyncIterator[str]:
    """Yield what is drawn, all that has come since the last time at once; stops drawing when nobody reads any more."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | Exception | None] = asyncio.Queue()
    left = False

    def deliver(piece: str | Exception | None) -> None:
        if not left and not loop.is_closed():
            loop.call_soon_threadsafe(arrived.put_nowait, piece)

    with _Place(service):
        service.worker.draw(Text(prompt, options, deliver, gone=lambda: left))
        deadline = loop.time() + service.limits.timeout_seconds
        try:
            yield ""  # that it has begun
            ended = False
            while not ended:
                async with asyncio.timeout_at(deadline):
                    pieces = [await arrived.get()]
                while not arrived.empty():
                    pieces.append(arrived.get_nowait())
                ended = not isinstance(pieces[-1], str)
                text = "".join(piece for piece in pieces if isinstance(piece, str))
                if text:
                    yield text
                if isinstance(pieces[-1], Exception):
                    raise pieces[-1]
        except TimeoutError as error:
            seconds = service.limits.timeout_seconds
            raise Refused(504, f"not done after {seconds:g} s; ask for a shorter length") from error
        finally:
            left = True


async def _events(first: str, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield server-sent events: `{"text": …}` as it comes, then `{"done": true}`, or `{"error": …}`."""
    try:
        if first:
            yield _event({"text": first})
        async for piece in pieces:
            yield _event({"text": piece})
        yield _event({"done": True})
    except Refused as error:
        yield _event({"error": str(error)})
    except Exception:
        yield _event({"error": OUR_FAULT})


def _event(record: dict[str, Any]) -> str:
    return f"data: {json.dumps(record, ensure_ascii=False)}\n\n"
