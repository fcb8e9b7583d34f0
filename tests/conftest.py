"""How tests are spread over processes: those of a file share hosts, so they stay together."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by file for ``--dist=loadgroup``, but for those that share nothing."""
    for item in items:
        if item.get_closest_marker("apart") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
