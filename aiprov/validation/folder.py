"""What a campaign keeps on the controller: ``.aiprov/validation/<campaign>/``.

Every file is whole or not there, but journals, which grow by whole lines. So whatever ends the
controller, the next one goes on from here.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiprov import FORMAT_VERSION
from aiprov.checks.validation import HostRun
from aiprov.errors import UsageError
from aiprov.payload.journal import Past, Record, read
from aiprov.payload.plan import Cell
from aiprov.staged import beside

ROOT = Path(".aiprov/validation")
CAMPAIGN = "campaign.json"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What was asked for. ``sources`` and ``limit`` are the inventory's, so that it is found again.

    ``device``: ``cuda``, or ``cpu`` where processors stand for GPUs. ``pairs``: whether hosts meet.
    """

    name: str
    started: str
    budget_s: float
    device: str
    seed: int
    hosts: tuple[str, ...]
    sources: tuple[str, ...] = ()
    limit: str | None = None
    vault_password_files: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()
    pairs: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


def cells_of(plan: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells of a plan. What else it says of them is for people."""
    fields = Cell.__dataclass_fields__
    return tuple(
        Cell(**{name: value for name, value in cell.items() if name in fields})
        for cell in plan["cells"]
    )


def new_name(now: datetime) -> str:
    """A campaign's name: when it began, and what two that began at once do not share."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Folder:
    """A campaign's folder, which one process has at a time: ``with`` lets others have it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @classmethod
    def begin(cls, campaign: Campaign, root: Path = ROOT) -> Folder:
        """Make it. Raises ``UsageError`` where that cannot be done."""
        made = cls(root / campaign.name)
        try:
            made.path.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"{made.path}: {error.strerror}", hint="run aiprov in a folder that is yours"
            ) from error
        made.take()
        made.write(CAMPAIGN, {"format_version": FORMAT_VERSION, **asdict(campaign)})
        return made

    @property
    def campaign(self) -> Campaign:
        """What was asked for. Raises ``UsageError`` where nobody can tell."""
        told = self.json(CAMPAIGN)
        try:
            fields = {name: told[name] for name in Campaign.__dataclass_fields__ if name in told}
            for name in ("hosts", "sources", "vault_password_files", "not_tested"):
                fields[name] = tuple(fields.get(name, ()))
            return Campaign(**fields)
        except (TypeError, AttributeError) as error:
            raise UsageError(
                f"{self.path / CAMPAIGN}: it is no campaign ({error})", hint="validate anew"
            ) from error

    def take(self) -> None:
        """Be the one who works on it. Raises ``UsageError`` where another is."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise UsageError(
                f"{self.path.name}: another aiprov works on this campaign",
                hint="let it end, or end it; it can be gone on with afterwards",
            ) from error
        self._lock = handle

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_raised: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be gone on with."""
        return (self.path / "ended").exists()

    def end(self) -> None:
        """Say that nothing is left."""
        (self.path / "ended").touch()

    def host(self, name: str) -> HostFolder:
        """What is kept of one host."""
        return HostFolder(self.path / "hosts" / quote(name, safe=" @+,="))

    def json(self, name: str) -> Any:
        """A document in it; ``None`` where there is none."""
        return _json(self.path / name)

    def write(self, name: str, document: Mapping[str, Any] | str) -> Path:
        """Put a document or a text into it, whole or not at all."""
        return _write(self.path / name, document)


class HostFolder:
    """What is kept of one host: ``prepared``, plans, journals, kernel logs, and how it went."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def json(self, name: str) -> Any:
        """A document; ``None`` where there is none."""
        return _json(self.path / name)

    def text(self, name: str) -> str | None:
        """A text; ``None`` where there is none."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write(self, name: str, document: Mapping[str, Any] | str) -> None:
        """Put a document or a text into it."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self.path / name, document)

    def remove(self, name: str) -> None:
        """Have no such file any more."""
        (self.path / name).unlink(missing_ok=True)

    def journal(self, stage: str) -> Past:
        """What came of a stage's journal so far."""
        try:
            return read((self.path / f"{stage}.jsonl").read_bytes())
        except FileNotFoundError:
            return Past()

    def records(self, stage: str) -> list[Record]:
        """A stage's journal, and before it what was planned, whether a payload ever read it or not.

        What stands after a damaged line is not believed.
        """
        plan = self.json(f"{stage}.plan.json")
        if plan is None:
            return []
        cells = [{"id": cell.id, **cell.document} for cell in cells_of(plan)]
        wanted: Record = {"event": "plan", "self_test": plan["self_test"], "cells": cells}
        return [wanted, *self.journal(stage).records]

    def length(self, stage: str) -> int:
        """Bytes of a stage's journal that are here."""
        path = self.path / f"{stage}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def append(self, stage: str, lines: bytes) -> None:
        """Add whole lines to a stage's journal."""
        with (self.path / f"{stage}.jsonl").open("ab") as out:
            out.write(lines)

    def trim(self, stage: str) -> None:
        """Cut off a last line that was being written when the controller was ended."""
        size = self.journal(stage).size
        path = self.path / f"{stage}.jsonl"
        if path.exists() and path.stat().st_size != size:
            os.truncate(path, size)

    @property
    def run(self) -> HostRun | None:
        """How the last try on this host went; ``None``: none has ended."""
        told = self.json("run.json")
        return None if told is None else HostRun(**told)

    def keep(self, run: HostRun) -> None:
        """Say how it went."""
        self.write("run.json", asdict(run))


def unfinished(root: Path = ROOT) -> Folder:
    """The newest campaign that was not ended. Raises ``UsageError`` where there is none."""
    for path in sorted(_campaigns(root), reverse=True):
        found = Folder(path)
        # A self-test that was cut off is begun anew.
        if not found.ended and not path.name.endswith("-self-test"):
            return found
    raise UsageError(
        f"no campaign under {root} is unfinished",
        hint="validate without --resume; it is looked for under the folder that you are in",
    )


def _campaigns(root: Path) -> Iterable[Path]:
    return (path.parent for path in root.glob(f"*/{CAMPAIGN}"))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(
            f"{path}: {error}", hint="move its campaign away: validate anew"
        ) from error


def _write(path: Path, document: Mapping[str, Any] | str) -> Path:
    text = document if isinstance(document, str) else _text(document)
    with beside(path, text.encode("utf-8", "surrogateescape")) as staged:
        staged.replace(path)
    return path


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
