"""Pieces that stand-in packages are put together from: programs, libraries, units, scripts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiprov.lab.vendor import elf
from aiprov.lab.vendor.package import STAND_IN, Content

_PROGRAMS = Path(__file__).parent / "programs"
DEB_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
RPM_LIBRARIES = "/usr/lib64"


def program(name: str, version: str) -> Content:
    """A program of ours that stands in for a vendor's, told its version."""
    text = (_PROGRAMS / name).read_text(encoding="utf-8")
    return Content(text=text.replace("@VERSION@", version), mode=0o755)


def source(name: str, **values: str) -> Content:
    """A text of ours with ``@NAME@`` replaced by values."""
    text = (_PROGRAMS / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", value)
    return Content(text=text)


def libraries(folder: str, sonames: Iterable[str], version: str) -> dict[str, Content]:
    """Shared libraries without code: ``libcuda.so.1`` of 580.95.05 is ``libcuda.so.580.95.05``."""
    return {
        f"{folder}/{_stem(soname)}.{version}": Content(
            text=elf.library(soname, f"{STAND_IN}, {version}")
        )
        for soname in sonames
    }


def library_links(folder: str, sonames: Iterable[str], version: str) -> dict[str, str]:
    """The links by which programs find those libraries."""
    return {f"{folder}/{soname}": f"{_stem(soname)}.{version}" for soname in sonames}


def _stem(soname: str) -> str:
    return soname[: soname.index(".so") + len(".so")]


def unit(
    description: str, lines: str, after: str = "", wanted_by: str = "multi-user.target"
) -> Content:
    """A systemd unit's file."""
    order = f"After={after}\n" if after else ""
    return Content(
        text=f"[Unit]\nDescription={description} ({STAND_IN})\n{order}\n"
        f"[Service]\n{lines}\n[Install]\nWantedBy={wanted_by}\n"
    )


def unit_scripts(*units: str, enable: bool) -> dict[str, str]:
    """What Debian's packages do about their units; those that are enabled are started too.

    A unit that cannot start, as before the driver is loaded, does not fail the installation.
    """
    names = " ".join(units)
    start = ""
    if enable:
        start = (
            f"for unit in {names}; do\n"
            "  deb-systemd-helper unmask $unit >/dev/null\n"
            "  if deb-systemd-helper --quiet was-enabled $unit; then\n"
            "    deb-systemd-helper enable $unit >/dev/null\n"
            "  fi\n"
            "done\n"
        )
    act = "start" if enable else "try-restart"
    return {
        "postinst": f"if [ \"$1\" = configure ]; then\n{start}"
        "if [ -d /run/systemd/system ]; then\n"
        "  systemctl --system daemon-reload\n"
        f"  act={act}\n"
        "  if [ -n \"$2\" ]; then act=try-restart; fi\n"
        f"  for unit in {names}; do\n"
        "    if ! deb-systemd-invoke $act $unit; then echo \"$unit did not start\" >&2; fi\n"
        "  done\n"
        "fi\nfi",
        "prerm": "if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n"
        f"  deb-systemd-invoke stop {names}\nfi",
        "postrm": "if [ \"$1\" = purge ] && command -v deb-systemd-helper >/dev/null; then\n"
        f"  for unit in {names}; do deb-systemd-helper purge $unit >/dev/null; done\nfi\n"
        "if [ -d /run/systemd/system ]; then systemctl --system daemon-reload; fi",
    }  # fmt: skip
