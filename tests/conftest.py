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

_LONGEST = "test_molecule.py"
"""Half an hour: where files go side by side, whoever begins it last is waited for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file goes first, all others in the order given."""
    items.sort(key=lambda item: item.path.name != _LONGEST)


@pytest.hookimpl(tryfirst=True)  # before fixtures bring hosts up
def pytest_runtest_setup() -> None:
    """Leave out what would begin too late."""
    if time.time() > _DEADLINE:
        pytest.skip("no time left: give make test more MINUTES")
