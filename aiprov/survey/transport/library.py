"""Loads paramiko without ``invoke``, a third of its load time.

paramiko needs invoke for ``Match exec`` in its own reader of ssh's configuration alone; where that
is asked for, the OpenSSH transport is chosen (``ssh_config.py``).
"""

import sys

if "paramiko" in sys.modules or "invoke" in sys.modules:
    import paramiko
else:
    sys.modules["invoke"] = None  # type: ignore[assignment]
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]

__all__ = ["paramiko"]
