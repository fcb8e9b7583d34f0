"""paramiko, without ``invoke`` (a third of its load time), and what it raises when it is cut off.

paramiko needs invoke for ``Match exec`` in its own reader of ssh's configuration alone; where that
is asked for, the OpenSSH transport is chosen (``ssh_config.py``).
"""

import sys
from typing import Protocol

if "paramiko" in sys.modules or "invoke" in sys.modules:
    import paramiko
else:
    sys.modules["invoke"] = None  # type: ignore[assignment]
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]

__all__ = ["LOST", "close", "paramiko"]

LOST = (paramiko.SSHException, EOFError, OSError)
"""What paramiko raises once the other side is gone, in any of its calls."""


class _Closable(Protocol):
    def close(self) -> None: ...


def close(connection: _Closable) -> None:
    """Close a socket, a channel or a connection, also where the other side cannot be told."""
    try:
        connection.close()
    except LOST:
        return
