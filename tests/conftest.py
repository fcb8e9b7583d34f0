"""What all tiers share: one place for labs, and a run's limit of time.

A run whose time is limited says what it had no time for, in place of being cut off.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.deadline import DEADLINE, NO_TIME
from tests.labs import lab_root

__all__ = ["lab_root"]

_SPARE_S = 7 * 60
"""For so long after the deadline a test that has begun may still take."""

_FIRST = ("test_molecule.py", "test_real_driver.py", "test_validate.py")
"""Half an hour each: where files go side by side, whoever begins one last is waited for. And the
last by its name of those that no other test replaces: time may be up before its turn."""

_late: set[Path] = set()
"""Files of which a test had no time left: those that come after it may build on it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These files go first, all others in the order given."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else 99)


@pytest.hookimpl(tryfirst=True)  # before fixtures bring hosts up
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what would begin too late, or take too long to begin now."""
    mark = item.get_closest_marker("takes")
    takes_s = 60 * mark.kwargs["minutes"] if mark else 0
    if item.path in _late or time.time() > DEADLINE - max(0, takes_s - _SPARE_S):
        _late.add(item.path)
        pytest.skip(NO_TIME)
