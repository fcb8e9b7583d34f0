"""How the agent is started: one constant shell line that finds Python and gives it the program.

The program comes on standard input, so nothing lies on the host and nothing of it is seen in
``ps`` or in sudo's log.
"""

from __future__ import annotations

import re
from shlex import quote

from aiprov.connection import Connection
from aiprov.errors import NoPythonError

NO_PYTHON = 86
NO_PYTHON_TEXT = b"aiprov: no python"

# -I: nothing of the user's environment; -S: no site packages, which also loads faster; -B: no
# bytecode files.
_FLAGS = "-I -S -B"
_STARTER = (
    "import sys;sys.version_info<(3,6) and sys.exit(86);import binascii,zlib;"
    "exec(zlib.decompress(binascii.a2b_base64(sys.stdin.buffer.readline())))"
)
# Full paths first: a user's PATH may hold shims that are slow or lead elsewhere.
_NAMES = (
    "/usr/bin/python3 /usr/libexec/platform-python python3 /usr/local/bin/python3 "
    "python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 "
    "python3.6"
)
_PYTHON = re.compile(r"[A-Za-z0-9_./+-]+")


def launch_command(connection: Connection) -> str:
    """The shell line that starts the agent with the host's Python, or the inventory's.

    Raises ``NoPythonError`` when the inventory's is not a path.
    """
    names = connection.python or _NAMES
    if connection.python is not None and not _PYTHON.fullmatch(connection.python):
        raise NoPythonError(
            connection.name,
            f"ansible_python_interpreter {connection.python!r} is not a path",
            hint="give a full path such as /usr/bin/python3, or leave it out",
        )
    script = (
        f"for p in {names}; do "
        f'command -v "$p" >/dev/null 2>&1 || continue; '
        f'"$p" {_FLAGS} -c "{_STARTER}"; r=$?; '
        f"[ $r -eq {NO_PYTHON} ] || exit $r; "
        f"done; echo {NO_PYTHON_TEXT.decode()} >&2; exit {NO_PYTHON}"
    )
    # The login shell may be anything; this is for a POSIX one.
    return f"/bin/sh -c {quote(script)}"


def no_python(connection: Connection) -> NoPythonError:
    """The host has no Python that will do."""
    which = f" at {connection.python}" if connection.python else ""
    return NoPythonError(
        connection.name,
        f"there is no Python 3.6 or later{which} on the host",
        hint="let aiprov install the system's own: aiprov apply --bootstrap",
    )
