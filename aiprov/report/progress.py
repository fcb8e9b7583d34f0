"""Live progress on standard error: hosts and stages, the change each host is at, time left."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from aiprov.converge import Event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN_HOSTS = 8
FINISHING = "interrupted: hosts finish the stage they are in; Ctrl-C again to wait for nothing"


class Shown(Protocol):
    """Where a run's events go."""

    def __call__(self, event: Event) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def progress(*, verbose: int, quiet: bool) -> Shown:
    """Bars on a terminal, lines elsewhere, nothing when ``quiet``."""
    if not quiet and sys.stderr.isatty():
        return Bars()
    return Lines(verbose=-1 if quiet else verbose)


class Lines:
    """One line a stage and host on standard error; one a change with ``-v``."""

    def __init__(self, *, verbose: int) -> None:
        self._verbose = verbose
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if event.step == "interrupted":
            click.echo(event.text or FINISHING, err=True)
            return
        text = self._text(event)
        if text is not None:
            with self._lock:
                seconds = time.monotonic() - self._began
                click.echo(f"[{seconds:7.1f}s] {event.host}: {text}", err=True)

    def _text(self, event: Event) -> str | None:
        step = event.step
        if self._verbose < 0:
            return None
        if step in {"change", "rollback"} and (self._verbose or event.number == 1):
            word = "putting back" if step == "rollback" else f"stage {event.stage}"
            return f"{word} {event.number}/{event.total} {event.text}"
        if step == "end" and event.text != "unchanged":
            return event.text
        return step if self._verbose > 1 and event.host else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Bars:
    """A bar over all hosts, and one for each of the hosts now under way, as far as they fit."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._lock = threading.Lock()
        self._rows: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[now]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._all = self._progress.add_task("hosts", total=None, now="")

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.step == "begin":
                # Not before: reading the inventory may ask for a vault's password.
                self._progress.update(self._all, total=event.total, completed=0)
                self._progress.start()
            elif event.step == "interrupted":
                self._progress.console.print(event.text or FINISHING)
            elif event.step == "end":
                self._ended(event)
            else:
                self._moved(event)

    def _ended(self, event: Event) -> None:
        row = self._rows.pop(event.host, None)
        if row is not None:
            self._progress.remove_task(row)
        self._progress.advance(self._all)

    def _moved(self, event: Event) -> None:
        if event.host not in self._rows:
            if len(self._rows) >= SHOWN_HOSTS:
                return
            self._rows[event.host] = self._progress.add_task(event.host, total=1, now="")
        known = event.step in {"change", "rollback"} and event.total > 0
        stage = f"stage {event.stage}: " if known else ""
        self._progress.update(
            self._rows[event.host],
            completed=event.number - 1 if known else 0,
            total=event.total if known else 1,
            now=f"{stage}{event.text or event.step}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
