"""The payload as files: all of it, and a version that no change leaves as it was."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from aiprov import payload_files

FOLDER = Path(payload_files.__file__).parent / "payload"


def test_it_is_all_of_the_payload():
    there = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.py")}
    assert payload_files.files() == there
    assert {"__init__.py", "__main__.py", "worker.py"} < there.keys()
    for name, text in there.items():
        ast.parse(text, name, feature_version=(3, 9))


@pytest.mark.parametrize(
    "changed",
    [
        {"a.py": "1", "b.py": "2"},
        {"a.py": "1"},
        {"a.py": "12", "b.py": ""},
        {"a.py": "1", "c.py": "2"},
        {"a.pyb": "1", ".py": "2"},
        {"a.py": "1", "b.py": "2 "},
    ],
)
def test_every_change_makes_another_version(monkeypatch: pytest.MonkeyPatch, changed: Any):
    def version(files: dict[str, str]) -> str:
        monkeypatch.setattr(payload_files, "files", lambda: files)
        return payload_files.version.__wrapped__()

    before = {"a.py": "1", "b.py": "2"}
    assert len(version(before)) == 16
    assert (version(changed) == version(before)) == (changed == before)
