"""Programs that roles lay on a host, where what has to be done there is more than one command.

Each is one file of standard-library Python (3.6 and later) that imports nothing of aiprov, asks as
well as acts (a verb that only reads answers by its exit code), says what it does on standard output
and what is wrong on standard error. They lie in ``FOLDER``, and are run as root.
"""

from __future__ import annotations

from importlib.resources import files

from aiprov.resources import Directory, File, Resource
from aiprov.survey.facts import Facts

FOLDER = "/usr/local/lib/aiprov"


def path(name: str) -> str:
    """Where the program of that name lies on a host."""
    return f"{FOLDER}/{name}"


def program(name: str, host: Facts) -> list[Resource]:
    """The program of that name (``aiprov/programs/<name>.py``, with ``_`` for ``-``), in place."""
    source = files(__name__) / f"{name.replace('-', '_')}.py"
    text = f"#!{interpreter(host)}\n" + source.read_text(encoding="utf-8")
    return [Directory(path=FOLDER), File(path=path(name), content=text, mode=0o755)]


def interpreter(host: Facts) -> str:
    """The host's own Python. RHEL 8 has it under another name, unless a user adds one."""
    old = host.family == "redhat" and host.os_major == "8"
    return "/usr/libexec/platform-python" if old else "/usr/bin/python3"
