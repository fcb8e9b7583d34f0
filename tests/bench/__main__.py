"""``python -m tests.bench``: measure, and print the tables."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from aiprov.errors import AiprovError
from tests.bench import cluster, fresh, parts
from tests.bench.budget import budget
from tests.bench.detection import detection
from tests.bench.measure import BenchError
from tests.bench.parts import FULL, QUICK, Sizes
from tests.bench.stage import Stage, stage
from tests.bench.table import Result, markdown

PARTS: dict[str, Callable[[Stage, Sizes], Result]] = {
    "start": parts.start,
    "noop": parts.noop,
    "rtt": parts.rtt,
    "same": fresh.same,
    "first": fresh.first,
    "many": parts.many,
    "names": parts.names,
    "cluster": cluster.further,
    "detection": lambda _stage, _sizes: detection(),
    "budget": lambda _stage, _sizes: budget(),
}
IN_QUICK = ("start", "noop", "first", "names")


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    sizes = QUICK if given.quick else FULL
    if given.runs:
        sizes = replace(sizes, runs=given.runs, slow_runs=given.runs, fresh=given.runs)
    chosen = given.only or (IN_QUICK if given.quick else tuple(PARTS))
    results: list[Result] = []
    code = 0
    try:
        with stage(say) as place:
            for name in chosen:
                say(f"-- {name}")
                results.append(PARTS[name](place, sizes))
    except KeyboardInterrupt:
        code = 130
    except (AiprovError, BenchError) as error:
        say(f"error: {error}")
        code = 1
    if results:
        text = markdown(results, conditions())
        print(text)
        if given.markdown:
            given.markdown.write_text(text, encoding="utf-8")
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=_names, metavar="PART,…", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer runs, in under 3 minutes")
    parser.add_argument("--runs", type=int, help="how often each command is measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here too")
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(
            f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}"
        )
    return names


def conditions() -> str:
    """What the figures hold for."""
    tools = ("aiprov", "ansible-core", "pyinfra", "paramiko")
    versions = ", ".join(f"{tool} {version(tool)}" for tool in tools)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs for controller and hosts together, "
        f"Python {platform.python_version()}, {versions}; medians."
    )


if __name__ == "__main__":
    sys.exit(main())
