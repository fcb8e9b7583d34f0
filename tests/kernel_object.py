"""Kernel modules that modinfo and depmod can read and that no kernel would load."""

from __future__ import annotations

import struct

_STRINGS, _PROGBITS = 3, 1


def kernel_object(**info: str) -> bytes:
    """A relocatable ELF file with these fields in ``.modinfo``: name, version, license."""
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in info.items())
    names = b"\0.modinfo\0.shstrtab\0"
    first = 64
    second = first + len(modinfo)
    table = second + len(names) + -(second + len(names)) % 8
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, _PROGBITS, 2, 0, first, len(modinfo), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 10, _STRINGS, 0, 0, second, len(names), 0, 0, 1, 0)
    body = head + modinfo + names
    return body + bytes(table - len(body)) + sections
