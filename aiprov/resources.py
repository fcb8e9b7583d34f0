"""The whole vocabulary: what a host can be asked to have. A closed union of frozen values.

A resource is identified by its ``address``, such as ``File[/etc/hosts]``. It says what should be
so and knows nothing about how: engines realise it, ``survey`` reads it, ``plan`` compares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Argv = tuple[str, ...]
"""A command as its arguments. There is no shell anywhere between this and ``execve``."""

STAGED = "{staged}"
"""In ``File.validate``: stands for the path where the new content lies before it is in place."""


class Secret:
    """A value that must never be shown. Its ``repr`` hides it and no JSON encoder accepts it.

    ``parts``: what of it is secret, where it is a document whose other words a host may say in its
    messages (names, addresses). Without them all of its words are taken out of what a host says.
    Not a dataclass: ``dataclasses.asdict`` would open it.
    """

    __slots__ = ("_value", "parts")

    def __init__(self, value: str, *, parts: tuple[Secret, ...] = ()) -> None:
        self._value = value
        self.parts = parts

    def reveal(self) -> str:
        """The value itself: for the one place that writes it to the host."""
        return self._value

    def hidden(self) -> tuple[str, ...]:
        """The texts that must be taken out of whatever a host says."""
        return tuple(part.reveal() for part in self.parts) or (self._value,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Content owned by key: the keys given here are set, every other key of the file is kept.

    ``values`` is a nested mapping; mappings merge, any other value (lists too) replaces, and
    ``None`` removes the key. A ``Secret`` may stand for any string.
    ``base`` is the content to merge into when the file does not exist yet.
    """

    format: Literal["json", "toml"]
    values: Mapping[str, Any]
    base: str = ""


# ---------------------------------------------------------------- questions a host can answer


NO_TELLING = 2
"""How a program that answers questions ends where it could not find out."""


@dataclass(frozen=True, kw_only=True)
class Succeeds:
    """True when the command exits 0. The command must only read.

    Where it does not, a line on its standard output for each thing that differs: that is what is
    shown as the reason of the change (20 lines at most).

    ``patience_s``: where the answer is not the host's own to give, an exit status of ``NO_TELLING``
    is no answer, with why on standard error, and neither is a question that did not end in time.
    Once the command has run (or the host has rebooted), it is then put again until somebody
    answers, for so many seconds. 0: that exit status is a no like any other.
    """

    argv: Argv
    patience_s: float = 0


@dataclass(frozen=True, kw_only=True)
class PathExists:
    """True when something is at the path. ``absent`` turns the question round."""

    path: str
    absent: bool = False


@dataclass(frozen=True, kw_only=True)
class UpToDate:
    """True when ``output`` exists and is at least as new as every one of ``inputs``.

    Compares change times (ctime) on the host. Inputs that do not exist are left out.
    """

    output: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BootedWith:
    """True when the running kernel's command line has the argument."""

    argument: str


Question = Succeeds | PathExists | UpToDate | BootedWith

# ---------------------------------------------------------------- resources


@dataclass(frozen=True, kw_only=True)
class AptRepository:
    """A deb822 source with its key beside it, both plain files, and its package lists fetched.

    ``key`` is the ASCII-armoured public key (``None``: ``signed_by`` names a keyring that exists).
    """

    name: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    key: str | None = None
    signed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class DnfRepository:
    """A ``.repo`` file with its key beside it, both plain files."""

    name: str
    description: str
    baseurl: str
    key: str | None = None
    gpgcheck: bool = True
    module_hotfixes: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Replaces:
    """Which installed versions a package may replace: upstream versions or dotted prefixes.

    ``hint``: the way out where another one is installed.
    """

    versions: tuple[str, ...]
    hint: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package of the host's own package manager.

    ``version``: ``None`` is any installed version; otherwise the upstream version or a dotted
    prefix of it (``29.4`` is met by ``5:29.4.3-1~debian.12``). ``at_least``: an upstream version
    below which none will do. The exact package version is resolved from the repository's metadata,
    never built. ``hold``: ``None`` is not managed.
    Packages with the same ``together`` are at one upstream version: the one that most of them have,
    if it will do and can be had of all, else the newest that all can be had at.
    ``waits_for``: addresses of resources; while one of them is yet to change, what can be had is
    unknown (a pin that decides about versions).
    ``replaces``: another installed version is refused while planning; ``None`` replaces any.
    """

    name: str
    version: str | None = None
    hold: bool | None = None
    absent: bool = False
    at_least: str | None = None
    together: str | None = None
    waits_for: tuple[str, ...] = ()
    replaces: Replaces | None = None


@dataclass(frozen=True, kw_only=True)
class File:
    """A regular file. Written atomically; ``validate`` runs first, on the staged content.

    ``delivered_by``: the package that brings a first version of the file. While that package is
    not installed, what a ``Merge`` gives is unknown, so the file waits for the next stage.
    ``never_replaced``: a file with another content is refused while planning, with this way out
    (not for a ``Merge``).
    """

    path: str
    content: str | Secret | Merge
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    validate: Argv | None = None
    delivered_by: str | None = None
    never_replaced: str | None = None


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory (not its content)."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Nothing is at the path: a file, link or empty directory is removed, never a full one."""

    path: str


@dataclass(frozen=True, kw_only=True)
class KernelModule:
    """A module that is loaded now and at every boot (``/etc/modules-load.d``).

    One that the running kernel does not have is refused while planning, unless a reboot comes
    before it. ``out_of_tree``: packages or commands before it bring it, so it may not be there yet.
    """

    name: str
    out_of_tree: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Sysctl:
    """A kernel parameter, live and at every boot (``/etc/sysctl.d``, one file a key)."""

    key: str
    value: str


@dataclass(frozen=True, kw_only=True)
class KernelArgument:
    """An argument on the kernel's command line from the next boot on. ``Reboot`` makes it real."""

    argument: str
    absent: bool = False


@dataclass(frozen=True, kw_only=True)
class Service:
    """A systemd unit. ``None`` is not managed.

    ``name`` is a full unit name (``docker.service``). ``restart_on``: paths of configuration
    files; when one of them changes, or changed after the unit started, the unit is restarted once
    at the end of its stage. Does it not come back, those files are put back as they were.
    """

    name: str
    enabled: bool | None = None
    running: bool | None = None
    masked: bool | None = None
    restart_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class User:
    """A local account. ``None`` is not managed. ``groups`` are added to, never taken away from."""

    name: str
    uid: int | None = None
    group: str | None = None
    groups: tuple[str, ...] = ()
    home: str | None = None
    shell: str | None = None
    system: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """A local group."""

    name: str
    gid: int | None = None
    system: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that is run unless the question answers yes, or when one of ``after`` changes.

    ``after`` holds addresses of resources (``File[/etc/x]``). ``waits_for`` too: while one of them
    is yet to change, the answer to the question is worth nothing, and the command is unknown.
    ``stdin`` is given to the command on its standard input: the one way to hand it a secret.
    """

    name: str
    argv: Argv
    unless: Question
    after: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    stdin: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class Reboot:
    """A reboot, proven by a new boot id, unless the question answers yes; or after a change.

    ``waits_for`` is as for a ``Command``.
    """

    name: str
    unless: Question
    after: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    timeout_s: int = 900


Resource = (
    AptRepository
    | DnfRepository
    | Package
    | File
    | Directory
    | Link
    | Absent
    | KernelModule
    | Sysctl
    | KernelArgument
    | Service
    | User
    | Group
    | Command
    | Reboot
)

State = Mapping[str, Any]
"""What is so: flat plain data (bool, int, str, list of str, ``None``), same keys for one kind."""

HostState = Mapping[str, State]
"""A host's state by the address of the resource that asks for it."""

_KEYS: dict[type, str] = {
    **dict.fromkeys((AptRepository, DnfRepository, Package, KernelModule), "name"),
    **dict.fromkeys((Service, User, Group, Command, Reboot), "name"),
    **dict.fromkeys((File, Directory, Link, Absent), "path"),
    Sysctl: "key",
    KernelArgument: "argument",
}


def kind(resource: Resource) -> str:
    """The resource's kind as users see it: the name of its class."""
    return type(resource).__name__


def address(resource: Resource) -> str:
    """The one name of a resource on a host: ``File[/etc/hosts]``."""
    return f"{kind(resource)}[{getattr(resource, _KEYS[type(resource)])}]"


def previous_path(path: str) -> str:
    """Where the former version of a configuration file lies until its service has come back."""
    return f"{path}.aiprov-previous"
