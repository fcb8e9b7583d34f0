"""Everything that can go wrong, as one small tree. Every error has a message and a hint.

AiprovError                  exit 1
├── UsageError               the command line asks for something that does not exist
├── InventoryError           the inventory is at fault: names file and line
│   └── InventoryErrors      all that is wrong with it, to be put right in one go
├── CatalogError             a catalog row is missing or does not fit
├── UnsupportedError         a role or an engine cannot do what is asked on this host
├── HostError                one host is at fault; others go on
│   ├── UnreachableError     exit 4: no connection, or it was lost
│   │   └── HostKeyError     the host's key is unknown or has changed
│   ├── BecomeError          privilege escalation was refused
│   ├── NoPythonError        the host has no Python that the survey can use
│   ├── SurveyError          the host answered, but not as it should
│   └── ApplyError           a change could not be made
├── VerificationError        exit 3: after apply, the host is not as planned
└── LabError                 the lab could not be built or removed
"""

from __future__ import annotations

from collections.abc import Iterable


class AiprovError(Exception):
    """A failure that a user can act on: what is wrong, and the way out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(AiprovError):
    """The command line names something that does not exist or does not fit together."""


class InventoryError(AiprovError):
    """The inventory is at fault. ``path`` and ``line`` say where, when that is known."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.line = line

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return f"{where}: {self.message}" if where else self.message


class InventoryErrors(InventoryError):  # noqa: N818 - it is several
    """Several faults of one inventory: ``errors``, each once, in the order of files and lines."""

    def __init__(self, errors: Iterable[InventoryError]) -> None:
        told = {(str(error), error.hint): error for error in _leaves(errors)}
        self.errors = tuple(
            sorted(told.values(), key=lambda error: (error.path or "", error.line or 0))
        )
        lines = [
            f"{str(error).rstrip('.')}; {error.hint}" if error.hint else str(error)
            for error in self.errors
        ]
        super().__init__("\n".join(lines))


def _leaves(errors: Iterable[InventoryError]) -> Iterable[InventoryError]:
    for error in errors:
        if isinstance(error, InventoryErrors):
            yield from error.errors
        else:
            yield error


class CatalogError(AiprovError):
    """A catalog row is missing, or rows do not fit together."""


class UnsupportedError(AiprovError):
    """A role or an engine cannot do what is asked on this host; raised while planning."""


class HostError(AiprovError):
    """One host is at fault. The others go on; the run's result names this one."""

    def __init__(self, host: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.host = host

    def __str__(self) -> str:
        return f"{self.host}: {self.message}"


class UnreachableError(HostError):
    """No connection to the host, or the connection was lost."""

    exit_code = 4


class HostKeyError(UnreachableError):
    """The host's key is unknown, or is not the one that is on record."""


class BecomeError(HostError):
    """Privilege escalation was refused: wrong or missing password, not in sudoers."""


class NoPythonError(HostError):
    """The host has no Python 3.6 or later, which the survey needs."""


class SurveyError(HostError):
    """The host answered the survey, but not as it should."""


class ApplyError(HostError):
    """A change could not be made on the host."""


class VerificationError(AiprovError):
    """After apply, the host is not as planned."""

    exit_code = 3


class LabError(AiprovError):
    """The lab could not be built, used or removed."""
