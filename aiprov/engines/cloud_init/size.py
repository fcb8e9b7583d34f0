"""How large user-data is, and whether clouds take it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

EC2_LIMIT = 16_384
"""Bytes of user-data that EC2 takes, before base64 (docs.aws.amazon.com, "user data", 2026-11).

Azure takes 64 KiB, OpenStack 64 KiB, Google 256 KiB; a NoCloud seed has no limit.
"""


@dataclass(frozen=True, kw_only=True)
class SizeReport:
    """Sizes in bytes, as they are handed to the cloud."""

    plain: int
    gzipped: int
    limit: int = EC2_LIMIT

    @property
    def fits(self) -> bool:
        """Whether the plain text is within the limit."""
        return self.plain <= self.limit

    @property
    def fits_gzipped(self) -> bool:
        """Whether the gzip form, which cloud-init unpacks by itself, is within the limit."""
        return self.gzipped <= self.limit

    def __str__(self) -> str:
        sizes = f"{self.plain} bytes, {self.gzipped} gzipped; EC2 takes {self.limit}"
        if self.fits:
            return sizes
        if self.fits_gzipped:
            return f"{sizes}: use --gzip there"
        return f"{sizes}: too large for it even with --gzip; fewer roles, or an image"


def size_report(user_data: str) -> SizeReport:
    """The sizes of rendered user-data."""
    return SizeReport(plain=len(user_data.encode()), gzipped=len(gzipped(user_data)))


def gzipped(user_data: str) -> bytes:
    """The gzip form. The same text gives the same bytes: no time, no name in it."""
    return gzip.compress(user_data.encode(), compresslevel=9, mtime=0)
