"""Libraries and kernel modules without code: what ``ldconfig`` and ``modinfo`` read, no more.

A stand-in library is a real ELF object with a name (``DT_SONAME``), so ``ldconfig`` links it as it
links the vendor's; a program that loads it finds no symbol in it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 4, 5, 6, 10, 11, 14


def library(soname: str, note: str) -> bytes:
    """A shared library for x86_64 of this name. ``note`` lies in it as text."""
    strings = b"\0" + soname.encode() + b"\0" + note.encode() + b"\0"
    symbols = bytes(24)
    buckets = struct.pack("<4I", 1, 1, 0, 0)
    at = 64 + 2 * 56
    places = {}
    for name, data in (("symbols", symbols), ("hash", buckets), ("strings", strings)):
        places[name] = at
        at += len(data)
    padding = -at % 8
    dynamic_at = at + padding
    tags = [(_SONAME, 1), (_HASH, places["hash"]), (_STRTAB, places["strings"])]
    tags += [(_SYMTAB, places["symbols"]), (_STRSZ, len(strings)), (_SYMENT, 24), (0, 0)]
    dynamic = b"".join(struct.pack("<2Q", *tag) for tag in tags)
    size = dynamic_at + len(dynamic)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 4096)
    told = struct.pack(
        "<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8
    )
    return head + load + told + symbols + buckets + strings + bytes(padding) + dynamic


def module(information: Mapping[str, str]) -> bytes:
    """A kernel module for x86_64 that says this of itself (``name``, ``license`` …)."""
    told = b"".join(f"{key}={value}".encode() + b"\0" for key, value in information.items())
    names = b"\0.modinfo\0.shstrtab\0"
    body = told + names
    sections_at = 64 + len(body) + -len(body) % 8
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, sections_at, 0, 64, 0, 0, 64, 3, 2)
    modinfo = struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(told), 0, 0, 1, 0)
    strings = struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(told), len(names), 0, 0, 1, 0)
    return (head + body).ljust(sections_at, b"\0") + bytes(64) + modinfo + strings
