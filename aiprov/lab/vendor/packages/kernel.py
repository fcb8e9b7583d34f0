"""Kernels for hosts that have none: headers of the machine's own, and newer ones to boot next.

A lab host runs the machine's kernel, whose headers no Debian archive has. These have what dkms
looks for; modules that are built without the kernel's own build system build with them.
"""

from __future__ import annotations

import platform
import re

from aiprov.lab import builtin
from aiprov.lab.vendor import elf
from aiprov.lab.vendor.package import STAND_IN, Content, Package

NEXT_SUFFIX = "aiprov-lab"
UNSUPPORTED = f"7.1.0-{NEXT_SUFFIX}"
"""A kernel that some of the driver's releases do not build on."""


def running() -> str:
    """The kernel of this machine and so of every lab host."""
    return platform.release()


def following(kernel: str) -> str:
    """The name of a kernel of the next minor version: what a host boots next."""
    match = re.match(r"(\d+)\.(\d+)", kernel)
    major, minor = (int(match[1]), int(match[2])) if match else (6, 0)
    return f"{major}.{minor + 1}.0-{NEXT_SUFFIX}"


def packages() -> list[Package]:
    """Headers for all kernels, images for those that are not this machine's."""
    own = running()
    newer = dict.fromkeys((following(own), UNSUPPORTED))
    return [
        _headers(own, with_lists=True),
        *map(_headers, newer),
        *map(_image, newer),
    ]


def _headers(kernel: str, *, with_lists: bool = False) -> Package:
    """Headers. ``with_lists``: with what an image brings for depmod, for a kernel without one."""
    source = f"/usr/src/linux-headers-{kernel}"
    lists = _lists(kernel) if with_lists else {}
    depmod = f"depmod {kernel}\n" if with_lists else ""
    waiting = f"/etc/kernel/header_postinst.d/dkms {kernel}"
    return Package(
        name=f"linux-headers-{kernel}",
        version=_version(kernel),
        release="1",
        summary=f"what builds modules for {kernel}",
        depends=("kmod",) if with_lists else (),
        files={
            f"{source}/.config": Content(text="CONFIG_MODULES=y\nCONFIG_CC_IS_GCC=y\n"),
            f"{source}/Makefile": Content(text="# Stand-in of aiprov's lab.\n"),
            f"{source}/include/generated/utsrelease.h": Content(
                text=f'#define UTS_RELEASE "{kernel}"\n'
            ),
            f"{source}/include/config/kernel.release": Content(text=f"{kernel}\n"),
            **lists,
        },
        links={f"/lib/modules/{kernel}/build": source},
        scripts={
            # As Debian's headers do: modules that were waiting for them are built now.
            "postinst": f'if [ "$1" = configure ]; then\n{depmod}'
            "if [ -x /etc/kernel/header_postinst.d/dkms ]; then\n"
            f"{waiting}\nfi\nfi",
            **(_dropped(kernel) if with_lists else {}),
        },
    )


def _image(kernel: str) -> Package:
    arguments = f"--arg={kernel} --arg=/boot/vmlinuz-{kernel}"
    return Package(
        name=f"linux-image-{kernel}",
        version=_version(kernel),
        release="1",
        summary=f"a kernel {kernel} that cannot boot",
        depends=("kmod",),
        files={
            f"/boot/vmlinuz-{kernel}": Content(text="Stand-in of aiprov's lab: no kernel.\n"),
            f"/boot/config-{kernel}": Content(text="CONFIG_MODULES=y\n"),
            **_lists(kernel),
        },
        scripts={
            "postinst": f'if [ "$1" = configure ]; then\ndepmod {kernel}\n'
            "if [ -d /etc/kernel/postinst.d ]; then\n"
            f"run-parts {arguments} /etc/kernel/postinst.d\nfi\nfi",
            "prerm": 'if [ "$1" = remove ] && [ -d /etc/kernel/prerm.d ]; then\n'
            f"run-parts {arguments} /etc/kernel/prerm.d\nfi",
            **_dropped(kernel),
        },
    )


def _lists(kernel: str) -> dict[str, Content]:
    """What depmod reads of a kernel, and one module: without any, dkms takes it for removed."""
    names = ("modules.order", "modules.builtin.modinfo")
    lines = "".join(f"{line}\n" for line in builtin.modules()) if kernel == running() else ""
    folder = f"/lib/modules/{kernel}"
    told = {
        "name": "aiprov_lab",
        "description": f"{STAND_IN}: nothing",
        "license": "GPL",
        "depends": "",
        "vermagic": f"{kernel} SMP preempt mod_unload modversions ",
    }
    return {
        f"{folder}/kernel/lib/aiprov_lab.ko": Content(text=elf.module(told)),
        **{f"{folder}/{name}": Content(text="") for name in names},
        f"{folder}/modules.builtin": Content(text=lines),
    }


def _dropped(kernel: str) -> dict[str, str]:
    return {"postrm": f'if [ "$1" = remove ]; then rm -f /lib/modules/{kernel}/modules.*; fi'}


def _version(kernel: str) -> str:
    return kernel.partition("-")[0]
