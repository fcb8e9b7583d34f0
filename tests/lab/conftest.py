"""Hosts for tests: one lab for the session, and throwaway hosts for those that change things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from aiprov.lab import HostSpec, Lab

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class LabHost:
    """One throwaway host, with an inventory that names it and no other that a test did not make."""

    lab: Lab
    name: str

    @property
    def inventory(self) -> Path:
        return self.lab.inventory

    @property
    def address(self) -> str:
        return self.lab.hosts[self.name].address

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = 900,
        check: bool = True,
    ) -> CompletedProcess[bytes]:
        return self.lab.run(self.name, argv, stdin=stdin, timeout=timeout, check=check)

    def text(self, *argv: str) -> str:
        return self.run(argv).stdout.decode().strip()


@pytest.fixture(scope="session")
def lab(lab_root: Path) -> Lab:
    """Three hosts for the whole session: deb12a, deb12b (Debian 12) and deb13a (Debian 13)."""
    shared = Lab(lab_root / "shared")
    shared.up(
        [
            HostSpec(name="deb12a", groups=("debian12",)),
            HostSpec(name="deb12b", groups=("debian12",)),
            HostSpec(name="deb13a", suite="trixie", groups=("debian13",)),
        ]
    )
    return shared


@pytest.fixture
def make_host(lab_root: Path) -> Iterator[Callable[..., LabHost]]:
    """Makes plain hosts that end with the test: ``make_host(suite="trixie", python=False)``.

    All hosts of one test share a lab of their own: ``host.inventory`` names exactly these.
    """
    own = Lab(lab_root / f"fresh{next(_NUMBERS)}")

    def make(name: str | None = None, **wanted: object) -> LabHost:
        name = name or f"fresh{next(_NUMBERS)}"
        own.up([HostSpec(name=name, **wanted)])  # type: ignore[arg-type]
        return LabHost(own, name)

    yield make
    own.down()


@pytest.fixture
def fresh_host(make_host: Callable[..., LabHost]) -> LabHost:
    """A plain Debian 12 host for one test."""
    return make_host()
