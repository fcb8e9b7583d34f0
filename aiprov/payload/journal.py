"""The journal: what was begun, seen and ended, a line each, so that nothing is done twice.

A line is a JSON object with its number ``n``, its time ``at`` (Unix seconds), its ``event`` and,
last, the CRC 32 of the rest. Begin and end of a cell are on the disk before anything else happens,
so a power cut or kill -9 costs the cells that were under way and no other. A last line that was cut
off is dropped; a damaged one before it ends what can be believed, and is said.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, List

Record = Dict[str, Any]

MOST_ATTEMPTS = 2
"""How often a cell is begun: one that ends the machine each time must not do so for ever."""


class JournalError(Exception):
    """The journal cannot be used; the message says why."""


@dataclass
class Past:
    """What a journal holds. ``problem``: why the rest of it is not believed; mostly empty.

    ``size``: bytes up to which it is.
    """

    records: List[Record] = field(default_factory=list)
    problem: str = ""
    size: int = 0

    @property
    def ended(self) -> Dict[str, Record]:
        """The end of each cell that has one."""
        return {item["cell"]: item for item in self.records if item["event"] == "end"}

    def attempts(self, cell: str) -> int:
        """How often a cell was begun."""
        return sum(item["event"] == "begin" and item.get("cell") == cell for item in self.records)


def encoded(record: Record) -> bytes:
    """A record as its line."""
    body = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{body[:-1]},"crc":{zlib.crc32(body.encode())}}}\n'.encode()


def decoded(line: bytes) -> Record:
    """A line as its record. Raises ``JournalError`` for one that is damaged."""
    body, found, rest = line.rpartition(b',"crc":')
    try:
        if not found or int(rest.rstrip(b"}\n")) != zlib.crc32(body + b"}"):
            raise JournalError("its checksum is wrong")
        record: Record = json.loads(body + b"}")
    except ValueError as error:
        raise JournalError(str(error)) from error
    return record


def read(data: bytes) -> Past:
    """What the bytes of a journal say."""
    past = Past()
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break  # it was being written
        try:
            record = decoded(line)
        except JournalError as error:
            past.problem = f"line {len(past.records) + 1}: {error}"
            break
        if record.get("n") != len(past.records):
            past.problem = f"line {len(past.records) + 1} has number {record.get('n')}"
            break
        past.records.append(record)
        past.size += len(line)
    return past


class Journal:
    """A journal that is written. Only one process may have it."""

    def __init__(self, path: str) -> None:
        """Open or begin it. Raises ``JournalError`` where it is damaged or another has it."""
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise JournalError(f"{path}: another validation is writing it") from error
        with open(path, "rb") as source:
            self.past = read(source.read())
        if self.past.problem:
            self.close()
            raise JournalError(f"{path}: {self.past.problem}; move it away to begin anew")
        os.ftruncate(self._handle, self.past.size)

    def write(self, event: str, durable: bool = False, **fields: Any) -> Record:
        """Append a record. ``durable``: it is on the disk when this returns."""
        number = len(self.past.records)
        record = {"n": number, "at": round(time.time(), 3), "event": event, **fields}
        line = encoded(record)
        written = os.write(self._handle, line)
        if written != len(line):
            raise JournalError("the disk is full")
        if durable:
            os.fsync(self._handle)
        self.past.records.append(record)
        return record

    def close(self) -> None:
        """Let others have it."""
        os.close(self._handle)
