"""What is *on* a host: for each resource, the question the agent is asked and what its answer says.

Pure on both sides. The state of each kind has these keys:

AptRepository    files: [sha256 of each of ``repository_files``, "" if absent], fetched: bool
DnfRepository    files: as above
Package          version: str | None, hold: bool, candidates: [exact versions, newest first]
                 (``candidates`` is read only where the installed version does not do)
File             type: absent|file|directory|link|other, mode: int, owner: str, group: str,
                 sha256: str, content: str | None (``None``: not text, too large, or secret)
Directory        type, mode, owner, group
Link             type, target: str
Absent           type
KernelModule     loaded: bool, at_boot: bool
Sysctl           value: str | None, at_boot: str | None
KernelArgument   at_boot: bool
Service          exists: bool, enabled: bool, running: bool, masked: bool,
                 stale: [paths of ``restart_on`` that changed after the unit started],
                 reload_needed: bool (systemd's NeedDaemonReload)
User             exists: bool, uid, group, groups: [str], home, shell
Group            exists: bool, gid
Command          done: bool
Reboot           needed: bool

Two entries are there beside the resources' own: ``PackageLists`` (age_s: int | None, ``None`` when
they were never fetched) where packages are asked for, and ``File[<path>.aiprov-previous]`` for
every path in a ``restart_on``.
"""

from __future__ import annotations

PACKAGE_LISTS = "PackageLists"
