"""Control groups: each host gets its own in every hierarchy, so that its limits are real.

Machines differ: one v2 hierarchy, v1 hierarchies, or both. A host's own group is made at the root
of each, entered by the process that becomes the host, and removed when the host is gone. Whatever
runs in these groups was started by the lab, so this is also how a host's processes are found.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from aiprov.lab.machine import ENDS_S, Process, until

_INHERITED = ("cpuset.cpus", "cpuset.mems")
_GONE = {errno.ENOENT, errno.ENODEV}
"""What the kernel says of a group that was removed, also while it is being read."""

_LISTING = "cgroup.procs"


def hierarchies(mounts: str | None = None) -> list[Path]:
    """Where the machine's cgroup hierarchies are mounted."""
    text = mounts if mounts is not None else Path("/proc/self/mounts").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines())
    return [Path(row[1]) for row in rows if row[2] in {"cgroup", "cgroup2"}]


def enter(group: str, pid: int) -> None:
    """Make the group in every hierarchy and move a process into it."""
    for root in hierarchies():
        here = root
        for part in Path(group).parts:
            _delegate(here)
            here = here / part
            here.mkdir(exist_ok=True)
            for name in _INHERITED:
                knob = here / name
                if (root / name).exists() and knob.exists() and not knob.read_text().strip():
                    knob.write_text((here.parent / name).read_text())
        (here / _LISTING).write_text(str(pid))


def _delegate(group: Path) -> None:
    """Hand every v2 controller of a group down to its children; v1 has nothing to hand down."""
    knob = group / "cgroup.subtree_control"
    if not knob.exists():
        return
    available = set((group / "cgroup.controllers").read_text().split())
    for controller in sorted(available - set(knob.read_text().split())):
        try:
            knob.write_text(f"+{controller}")
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP}:
                raise


def processes(group: str) -> Iterator[Process]:
    """Every live process in the group or below it, in any hierarchy."""
    seen: set[int] = set()
    for one in _with_those_below(group):
        pids = _listed(one)
        for pid in sorted(pids - seen):
            process = Process.of(pid)
            if process is not None:
                yield process
        seen |= pids


def _with_those_below(group: str) -> Iterator[Path]:
    """The group and all below it in every hierarchy, but those that are removed meanwhile."""
    for root in hierarchies():
        for folder, _, _ in os.walk(root / group, onerror=_unless_gone):
            yield Path(folder)


def _listed(group: Path) -> set[int]:
    """The processes in the group itself; none where it was removed meanwhile, as a pod's may be."""
    try:
        return {int(word) for word in (group / _LISTING).read_text(encoding="ascii").split()}
    except OSError as error:
        _unless_gone(error)
        return set()


def _unless_gone(error: OSError) -> None:
    """Raise what the kernel said, unless it is that the group is no longer there."""
    if error.errno not in _GONE:
        raise error


def freeze(group: str, frozen: bool) -> None:
    """Stop or continue everything in the group; a stopped host accepts but never answers."""
    for root in hierarchies():
        _freeze(root / group, frozen)


def _freeze(group: Path, frozen: bool) -> None:
    for name, words in (("cgroup.freeze", "01"), ("freezer.state", ("THAWED", "FROZEN"))):
        knob = group / name
        if knob.exists():
            try:
                knob.write_text(words[int(frozen)], encoding="ascii")
            except OSError as error:
                _unless_gone(error)


def kill(group: str) -> None:
    """End everything in the group, and wait until it has ended."""
    for one in _with_those_below(group):
        _freeze(one, False)  # what is frozen in v1 cannot be killed

    def ended() -> bool:
        left = list(processes(group))
        for process in left:
            process.signal(signal.SIGKILL)
        return not left

    until(ended, f"processes in {group} to end", timeout=ENDS_S)


def remove(group: str) -> None:
    """Remove the group and all below it from every hierarchy; its processes must have ended."""
    for root in hierarchies():
        top = root / group
        until(lambda top=top: _removed(top), f"{top} to be removed", timeout=ENDS_S)  # type: ignore[misc]


def _removed(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError as error:
            if error.errno in {errno.EBUSY, errno.ENOTEMPTY}:
                return False
            _unless_gone(error)
    return not top.exists()
