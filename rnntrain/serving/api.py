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
from rnntrain.predicting.predictor import Example, Predictor, Record
from rnntrain.predicting.writing import as_json
from rnntrain.sample import SamplingOptions
from rnntrain.serving.bodies import Refused, object_of, raw_inputs
from rnntrain.serving.counters import Counters
from rnntrain.serving.drawing import Drawing, Text
from rnntrain.serving.limits import Limits
from rnntrain.serving.places import Place, Places
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

    def __post_init__(self) -> None:
        self.predictor: Predictor = self.run.predictor()
        codec = self.run.codec
        generates = self.run.task.generates and isinstance(codec, TextCodec)
        self.drawing = Drawing(self.run.model, codec) if generates else None
        self.worker = Worker(self.drawing, self.counters)
        self.places = Places(self.limits)
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
    gauges = {"requests_waiting": float(service.places.waiting), "texts_drawing": float(service.worker.num_texts)}
    return PlainTextResponse(service.counters.text(gauges), media_type="text/plain; version=0.0.4")


async def _model(request: Request) -> Response:
    return JSONResponse(_service(request).about())


# -- asking ---


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _predict(request: Request) -> Response:
    service = _service(request)
    with service.places.one() as place:
        try:
            async with asyncio.timeout(service.limits.timeout_seconds):
                records = await _records(service, request, place)
        except TimeoutError as error:
            raise Refused(504, f"not done after {service.limits.timeout_seconds:g} s; send fewer inputs") from error
    # Numbers that are not finite, which an input of huge ones may lead to, are null, as in files of predictions.
    return Response(as_json({"outputs": records}), media_type="application/json")


async def _records(service: Service, request: Request, place: Place) -> list[Record]:
    predictor = service.predictor
    if "horizon" in request.query_params:
        predictor = _ahead(predictor, request.query_params["horizon"], service.limits)
    body = await place.body(request)

    def encode() -> list[Example]:
        raw = raw_inputs(predictor, service.run.config.data.arguments, _kind(request), body, service.limits)
        return [_bounded(predictor.example(each, f"input {n}"), n, service.limits) for n, each in enumerate(raw, 1)]

    examples = await asyncio.to_thread(encode)  # features of sound take long, and others wait for this thread
    if isinstance(predictor, ForecastPredictor) and predictor.draws_paths:
        _check_steps(len(examples) * predictor.horizon, service.limits)
    return await asyncio.wrap_future(service.worker.ask(predictor, examples))


def _bounded(example: Example, number: int, limits: Limits) -> Example:
    if len(example.inputs) > limits.max_steps:
        raise Refused(
            413, f"input {number}: {len(example.inputs):,} steps; at most {limits.max_steps:,} are answered at once"
        )
    return example


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
    with service.places.one() as place:
        asked = object_of(await place.body(request), known)
    prompt, stream = asked.get("prompt", ""), asked.get("stream", False)
    if not isinstance(prompt, str) or not isinstance(stream, bool):
        raise Refused(400, "prompt must be a text, and stream true or false")
    options = _options(asked, service.limits)
    if len(prompt) > service.limits.max_steps:
        raise Refused(413, f"a prompt of {len(prompt):,} signs; at most {service.limits.max_steps:,} are read")
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

    with service.places.one():
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
