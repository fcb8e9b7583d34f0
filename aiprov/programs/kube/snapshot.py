"""Whether a snapshot of etcd is whole: asked on control planes, and by the controller.

It is whole blocks and then the SHA-256 of them (etcd's own check on restore).
"""

import hashlib
import os
from typing import IO, Optional

BLOCK, DIGEST = 512, 32
PIECE = 1 << 20
"""How many bytes of a snapshot are read at a time."""


def digest_of(source: IO[bytes]) -> Optional[str]:
    """The digest of what a snapshot holds; None for one that is not whole."""
    size = source.seek(0, os.SEEK_END)
    left, digest = size - DIGEST, hashlib.sha256()
    source.seek(0)
    while left > 0:
        piece = source.read(min(PIECE, left))
        digest.update(piece)
        left -= len(piece)
    if size % BLOCK != DIGEST or source.read() != digest.digest():
        return None
    return digest.hexdigest()
