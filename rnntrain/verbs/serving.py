"""`rnntrain serve`: a trained model behind HTTP, with a page to try it on."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import parse, require_run, run_parser

DESCRIPTION = """\
Serve a run's model on this machine: a page for people at /, and for programs POST /predict and /sample, GET /model,
/health and /metrics. Whoever asks at the same time is answered in one batch.
"""


def serve(arguments: list[str]) -> int:
    from rnntrain.serving.limits import Limits

    hints = get_type_hints(Limits, include_extras=True)
    parser = run_parser("serve", DESCRIPTION, "device, threads or plugins")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 takes a free one (8000)")
    for limit in fields(Limits):
        kind = type(limit.default)
        flag = "--" + limit.name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=limit.default, metavar="N", help=f"({limit.default:g})")
    options = parse(parser, arguments)
    require_run(options.run)
    from rnntrain.configuring.checking import check_value
    from rnntrain.loopback import is_loopback
    from rnntrain.serving import server

    given = {name: check_value("--" + name.replace("_", "-"), hints[name], getattr(options, name)) for name in hints}
    limits = Limits(**given)
    server.check_installed()
    bound = server.listen(options.host, options.port)

    from rnntrain import using

    with bound:
        run = using.load(options.run, options.overrides)
        server.serve(run, limits, bound, only_local=is_loopback(options.host))
    return DONE
