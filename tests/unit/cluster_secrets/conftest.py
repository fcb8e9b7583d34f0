"""One cluster's secrets for all tests: four RSA keys are seconds on a slow machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultSecret

from aiprov.cluster_secrets import ClusterSecrets, make

NOW = datetime(2026, 11, 21, 12, 30, 15, tzinfo=UTC)
PASSWORD = "correct horse"


def vault(*passwords: str, name: str = "default") -> list[tuple[str, VaultSecret]]:
    return [(name, VaultSecret(password.encode())) for password in passwords or (PASSWORD,)]


@pytest.fixture(scope="session")
def cluster() -> ClusterSecrets:
    return make(NOW)


@pytest.fixture
def laid(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text into a file of the name, for openssl to read."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
