"""Files of the controller that are whole or not there, whatever interrupts the writing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path, content: bytes, suffix: str = "") -> Iterator[Path]:
    """The content in a hidden file of mode 0600 in the same folder, on disk; gone afterwards.

    Whoever asks puts it in its place: by ``replace``, or by a link that never goes over another
    file. Raises ``OSError``.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield staged
    finally:
        staged.unlink(missing_ok=True)
