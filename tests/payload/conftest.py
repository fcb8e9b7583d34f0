"""What tests with real ranks share: files run side by side, and each process has its own ports."""

from __future__ import annotations

import pytest

from aiprov.checks import pair_tests
from tests.payload import ports


@pytest.fixture(autouse=True)
def _ports_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of every run are numbered from the same port on."""
    monkeypatch.setattr(pair_tests, "FIRST_PORT", ports.FIRST_OF_PAIRS)
