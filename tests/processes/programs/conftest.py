"""Hosts that the kube programs are tried on, by this Python and by the oldest that hosts have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes.programs.kube_cluster import AUTHORITY, Cluster
from tests.processes.programs.kube_host import addresses, made, oldest


@pytest.fixture
def cluster(request) -> Iterator[Cluster]:
    """A host that runs the programs with the oldest Python, unless a test asks for another.

    Each start of a program takes a tenth of a second: the newest has only tests that together run
    all of them (see ``BOTH``).
    """
    here, there = addresses(2)
    with made(getattr(request, "param", None) or oldest(), AUTHORITY, here) as host:
        one = Cluster(host, there, [])
        yield one
        one.dies()
