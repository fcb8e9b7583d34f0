"""What all tiers share: one place for labs, and a run's limit of time.

A run whose time is limited says what it had no time for, in place of being cut off.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.labs import lab_root

__all__ = ["lab_root"]

_DEADLINE = float(os.environ.get("AIPROV_TEST_DEADLINE") or "inf")
"""Seconds since 1970: what has not begun by then is skipped. ``make test MINUTES=75`` sets it."""

_FIRST = ("test_molecule.py", "test_validate.py")
"""Half an hour: where files go side by side, whoever begins it last is waited for. And the last by
its name of those that no other test replaces: time may be up before its turn."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These files go first, all others in the order given."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else 99)


@pytest.hookimpl(tryfirst=True)  # before fixtures bring hosts up
def pytest_runtest_setup() -> None:
    """Leave out what would begin too late."""
    if time.time() > _DEADLINE:
        pytest.skip("no time left: give make test more MINUTES")
