from __future__ import annotations

from collections.abc import Iterator

import pytest

from aiprov import roles
from aiprov.settings import names
from tests.unit.inventory.toy_roles import ROLES


@pytest.fixture
def toy_roles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy roles stand in for the real ones."""
    monkeypatch.setattr(roles, "slugs", lambda: tuple(ROLES))
    monkeypatch.setattr(roles, "load", ROLES.__getitem__)
    names.owner.cache_clear()
    yield
    names.owner.cache_clear()
