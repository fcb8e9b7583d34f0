"""The group ``quarantine`` of an inventory: a file of aiprov's own, which Ansible reads as any.

In an inventory folder Ansible reads it by itself, so ``-l '!quarantine'`` leaves its hosts out;
beside a hosts file it has to be given with a second ``-i``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aiprov.actions.model import Decision, Held
from aiprov.errors import InventoryError, UsageError
from aiprov.staged import beside

NAME = "quarantine.yml"
GROUP = "quarantine"
REASON, SINCE, CAMPAIGN = (
    "aiprov_quarantine_reason", "aiprov_quarantine_since", "aiprov_quarantine_campaign",
)  # fmt: skip
HEAD = """\
# Hosts that aiprov took out of service after a validation. aiprov writes this file anew:
# aiprov quarantine list shows them, aiprov quarantine release HOST takes one out.
"""

_HINT = "move it away, or give another file: --quarantine-file FILE"


def place(sources: Sequence[str]) -> Path:
    """Where the group of this inventory is: in its folder, or beside its hosts file.

    The first source that is a file or a folder decides, unless one of them has or is the file.
    Raises ``UsageError`` where none is (``-i host,host``).
    """
    paths = [Path(source) for source in sources if "," not in source and Path(source).exists()]
    named = [path for path in paths if path.is_file() and path.name == NAME]
    places = [(path if path.is_dir() else path.parent) / NAME for path in paths]
    there = [path for path in (*named, *places) if path.exists()]
    if not places:
        raise UsageError(
            "there is no place for the group quarantine: no inventory source is a file or folder",
            hint="give its file: --quarantine-file FILE, and to Ansible -i FILE",
        )
    return (there or places)[0]


class Quarantine:
    """The group, in its file. ``known``: the inventory's hosts, to tell of those that are gone."""

    kind = "quarantine"

    def __init__(
        self, path: Path, *, sources: Sequence[str] = (), known: Collection[str] | None = None
    ) -> None:
        self.path = path
        self._sources = [Path(source).absolute() for source in sources]
        self._known = known

    def held(self) -> Mapping[str, Held]:
        """The hosts of the group, whoever put them there. Raises ``InventoryError``."""
        return {name: self._held(name, about) for name, about in sorted(self._read().items())}

    def take(self, decision: Decision, since: str, campaign: str) -> str:
        """Put the host into the group. One that is there keeps its time."""
        reason = decision.reason
        with self._locked():
            hosts = self._read()
            about = hosts.get(decision.host)
            if about is not None and SINCE not in about:
                return f"{decision.host} was put into {self.path} by hand: left as it is"
            new = {
                **(about or {}),
                REASON: reason,
                SINCE: (about or {}).get(SINCE, since),
                CAMPAIGN: campaign,
            }
            if about is None or about.get(REASON) != reason:
                self._write({**hosts, decision.host: new})
        where = f"in the group {GROUP} of {self.path}"
        if about is not None:
            return f"{where} since {about[SINCE]}{self._unread()}"
        return f"put {where}{self._unread()}"

    def give(self, host: str) -> str:
        """Take the host out of the group. The file goes with the last one."""
        with self._locked():
            hosts = self._read()
            about = hosts.pop(host, None)
            if about is None:
                return f"not in {self.path} any more"
            if SINCE not in about:
                raise UsageError(
                    f"{host} was put into {self.path} by hand", hint="take it out by hand, too"
                )
            if hosts:
                self._write(hosts)
            else:
                self.path.unlink()
        return f"taken out of the group {GROUP} of {self.path}"

    def close(self) -> None:
        """Nothing is open."""

    # ------------------------------------------------------------ the file

    def _held(self, name: str, about: Mapping[str, Any]) -> Held:
        gone = self._known is not None and name not in self._known
        note = "put there by hand" if SINCE not in about else ""
        return Held(
            host=name,
            reason=str(about.get(REASON, "")),
            since=str(about.get(SINCE, "")),
            note="not in the inventory that was given" if gone else note,
        )

    def _unread(self) -> str:
        """What has to be known where Ansible does not read the file by itself."""
        own = self.path.absolute()
        if not self._sources or any(one in (own, own.parent) for one in self._sources):
            return ""
        return f"; Ansible reads it where it is given: -i {self.path}"

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._strange(f"cannot be read: {error}") from error
        if not text.startswith(HEAD.partition("\n")[0]):
            raise self._strange("was not written by aiprov, which does not touch it")
        try:
            hosts = yaml.load(text, Loader=_Plain)[GROUP]["hosts"]  # noqa: S506 - a safe loader
            return {str(name): dict(about or {}) for name, about in (hosts or {}).items()}
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._strange(f"is damaged: {' '.join(str(error).split())}") from error

    def _strange(self, what: str) -> InventoryError:
        return InventoryError(what, hint=_HINT, path=str(self.path))

    def _write(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        told = {
            name: {key: _Unsafe(value) if isinstance(value, str) else value
                   for key, value in about.items()}
            for name, about in hosts.items()
        }  # fmt: skip
        text = HEAD + yaml.dump(
            {GROUP: {"hosts": told}},
            Dumper=_Marking,
            sort_keys=True,
            allow_unicode=True,
            width=2**20,
        )
        # Ansible reads no file of an inventory folder whose name ends so.
        with beside(self.path, text.encode(), suffix="~") as staged:
            staged.chmod(0o644)
            staged.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among those that write it. The folder is locked: a lock file would be inventory."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


class _Unsafe(str):
    """A text that Ansible must not take for a template: a host's own words may be in it."""


class _Marking(yaml.SafeDumper):
    """Writes such texts with Ansible's tag for them."""


class _Plain(yaml.SafeLoader):
    """Reads them as what they are."""


def _marked(dumper: yaml.SafeDumper, text: _Unsafe) -> yaml.Node:
    return dumper.represent_scalar("!unsafe", str(text), style='"')


def _read_marked(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Marking.add_representer(_Unsafe, _marked)
_Plain.add_constructor("!unsafe", _read_marked)
