"""The payload as files: what the role ``gpu_validation`` lays on hosts, and by which name it goes.

Pure reading of this package's own data: ``aiprov/payload`` is never imported here, so none of it
runs on the controller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files as package_files
from importlib.resources.abc import Traversable
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

PACKAGE = "aiprov_payload"
"""The name that it is imported by on hosts."""


@cache
def files() -> dict[str, str]:
    """Every file of the payload: its path within the package (``worker.py``), and its text."""
    return dict(sorted(_python_files(package_files("aiprov") / "payload")))


@cache
def version() -> str:
    """What the payload is, as 16 hexadecimal digits: another name or byte makes another version."""
    digest = hashlib.sha256()
    for name, text in files().items():
        for part in (name, text):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


@cache
def archive() -> bytes:
    """The payload as a zip file that Python imports from: of the same files the same bytes."""
    made = BytesIO()
    with ZipFile(made, "w", ZIP_DEFLATED) as packed:
        for name, text in files().items():
            packed.writestr(ZipInfo(f"{PACKAGE}/{name}"), text, ZIP_DEFLATED)
    return made.getvalue()


def _python_files(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    for found in folder.iterdir():
        if found.is_dir():
            yield from _python_files(found, f"{above}{found.name}/")
        elif found.name.endswith(".py"):
            yield f"{above}{found.name}", found.read_text(encoding="utf-8")
