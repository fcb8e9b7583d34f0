"""A package as it is wanted, whatever format it is then written in: a value, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STAND_IN = "Stand-in of aiprov's lab"
"""How every stand-in package begins to say what it is."""
_ABOUT = (
    "It has the name, the version, the dependencies and the file layout of the vendor's\n"
    "package, and none of the vendor's code. Its programs speak to simulated GPUs.\n"
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """A file of a package. ``mode`` is its permission bits."""

    text: str | bytes
    mode: int = 0o644

    @property
    def data(self) -> bytes:
        return self.text.encode() if isinstance(self.text, str) else self.text


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package and all that it holds.

    Relations (``depends``, ``provides``, ``conflicts``, ``replaces``) are written as the format
    that the package is for writes them; ``replaces`` is ``Obsoletes`` in an rpm. ``release`` is
    Debian's revision, or an rpm's release without the distribution's tag. ``scripts`` are shell
    lines by the maintainer script's Debian name; an rpm has none. Files in /etc are its
    configuration files. ``batch`` names packages that may be made together: no two of a batch hold
    the same path. ``about``: what its README says of what is in it.
    """

    name: str
    version: str
    release: str
    summary: str
    about: str = _ABOUT
    source: str = ""
    batch: str = "all"
    epoch: int = 0
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_version(self) -> str:
        """The version as file names have it: ``580.95.05-1``; without a release, it alone."""
        return f"{self.version}-{self.release}" if self.release else self.version

    @property
    def full_version(self) -> str:
        """The version as the package manager compares it: ``3:580.95.05-1``."""
        return f"{self.epoch}:{self.file_version}" if self.epoch else self.file_version

    @property
    def description(self) -> str:
        """What it is in place of, in one line."""
        return f"{STAND_IN}: {self.summary}"

    @property
    def readme(self) -> str:
        """What its README says."""
        return (
            f"{self.name} {self.full_version}\n\n"
            f"This is a stand-in, made by aiprov's lab for its throwaway hosts: {self.summary}.\n"
            f"{self.about}"
        )

    @property
    def all_files(self) -> dict[str, Content]:
        """Its files, the README among them."""
        own = {f"/usr/share/doc/{self.name}/README": Content(text=self.readme)}
        return {**self.files, **own}
