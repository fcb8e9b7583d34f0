"""Hosts for validations that are processes of this machine: real payloads, stub workers.

Each has a folder with everything that a host would have, the payload laid as the role lays it, and
programs that stand in for systemd and the driver. Only the worker is none: it says at once what a
good GPU would say after an hour, or what ``does`` tells it to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiprov import payload_files
from aiprov.checks.expectations import Expectations, document, expected
from aiprov.connection import Connection
from aiprov.errors import UnreachableError
from aiprov.survey.facts import Facts, PciDevice
from aiprov.survey.transport.exchange import Runner
from aiprov.survey.transport.process import ProcessChannel
from aiprov.validation.remote import Places, Remote
from tests.unit.payload import smi

ADDRESSES = ("0000:19:00.0", "0000:3b:00.0")
H100 = "2331"
STUBS = Path(__file__).parent
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

_SMI = """if [ "$*" = "-q -x" ]; then cat FOLDER/smi.xml; else cat FOLDER/users; fi #"""


class LocalHost:
    """One such host. ``gpus``: whether it has two H100 in slots; else its processors are all.

    ``lost``: whether it cannot be reached now. ``refuses``: how many connections to it still fail.
    """

    def __init__(self, folder: Path, name: str, *, gpus: bool = False) -> None:
        self.folder = folder / name
        self.name = name
        self.gpus = gpus
        self.lost = False
        self.refuses = 0
        for path, text in payload_files.files().items():
            self.write(f"lib/aiprov_payload/{path}", text)
        root = f'root: str = "{self.folder}"'
        links = payload_files.files()["links.py"].replace('root: str = "/"', root)
        self.write("lib/aiprov_payload/links.py", links)
        self.write("lib/aiprov_payload/worker.py", (STUBS / "stub_worker.py").read_text())
        python = f"exec {sys.executable}"
        self._program(
            "payload",
            f"export PYTHONPATH={self.folder}/lib PYTHONDONTWRITEBYTECODE=1; "
            f"{python} -m aiprov_payload",
        )
        self._program("bin/systemctl", f"{python} {STUBS}/stub_systemctl.py")
        self._program("bin/systemd-run", f"{python} {STUBS}/stub_systemd_run.py")
        self._program("bin/journalctl", f"cat {self.folder}/kernel.log #")
        self._program("bin/dmesg", "false #")
        (self.folder / "state").mkdir()
        self.write("kernel.log", "Nov 21 10:00:00 host kernel: Linux version 6.1\n")
        self.write("version", payload_files.version() + "\n")
        self.write("contract.json", json.dumps(document(self.contract)))
        self.does()
        if gpus:
            self._program("bin/nvidia-smi", _SMI.replace("FOLDER", str(self.folder)))
            self.write("users", "")
            self.smi({}, {})
            for address in ADDRESSES:
                self.in_sysfs(address)

    @property
    def facts(self) -> Facts:
        devices = tuple(
            PciDevice(address=address, vendor="10de", device=H100, class_code="030200", numa_node=0)
            for address in ADDRESSES
        )
        return Facts(
            name=self.name, hostname=self.name, os_id="debian", os_version="12",
            os_codename="bookworm", os_name="Debian 12", family="debian", architecture="x86_64",
            kernel="6.1.0", python="3.11.2", boot_id=BOOT_ID, cpus=2, memory_bytes=1 << 33,
            pci_devices=devices if self.gpus else (),
        )  # fmt: skip

    @property
    def contract(self) -> Expectations:
        return expected(self.facts, driver="580.95.05" if self.gpus else None)

    @property
    def serials(self) -> tuple[str, str]:
        return f"{self.name}-1", f"{self.name}-2"

    def smi(self, *gpus: Mapping[str, Any]) -> None:
        """What nvidia-smi says of its GPUs: good but for what is given of each."""
        told = [
            {"address": f"0000{address}", "serial": serial, **one}
            for address, serial, one in zip(ADDRESSES, self.serials, gpus, strict=False)
        ]
        self.write("smi.xml", smi.document(*told).replace("233010DE", f"{H100}10DE"))

    def in_sysfs(self, address: str) -> None:
        """A GPU as the kernel shows it."""
        for name, text in {"vendor": "0x10de", "class": "0x030200", "numa_node": "0"}.items():
            self.write(f"sys/bus/pci/devices/{address}/{name}", f"{text}\n")

    def does(self, **faults: Mapping[str, Any]) -> None:
        """What its devices do otherwise: ``does(**{"cuda:0": {"faults": 1}})``.

        One that ``holds`` does its first test, and the others once the host ``goes_on``.
        """
        self.write("faults.json", json.dumps(faults))

    def goes_on(self) -> None:
        """Its devices that hold go on."""
        self.write("goes-on", "")

    def write(self, name: str, text: str) -> None:
        """Write a file at once: what runs there reads it at any moment."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        if path.exists():
            new.chmod(path.stat().st_mode)
        new.replace(path)

    @property
    def started(self) -> Sequence[str]:
        """The campaigns that its payload was started for, one a start."""
        path = self.folder / "started"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def pid(self) -> int:
        """Its payload's supervisor."""
        return int(json.loads((self.folder / "unit.json").read_text())["pid"])

    def _program(self, name: str, command: str) -> None:
        self.write(name, f'#!/bin/sh\n{command} "$@"\n')
        (self.folder / name).chmod(0o755)


class LocalRemote(Remote):
    """The way to such a host."""

    def __init__(self, host: LocalHost) -> None:
        own = host.folder
        super().__init__(
            Connection(name=host.name, address="127.0.0.1", kind="local"),
            lambda _connection: _Transport(host),
            places=Places(
                launcher=f"{own}/payload", version=f"{own}/version",
                contract=f"{own}/contract.json", state=f"{own}/state",
            ),
        )  # fmt: skip
        self._local = host

    def facts(self) -> Facts:
        self._open().connect()
        return self._local.facts


class _Transport(Runner):
    def __init__(self, host: LocalHost) -> None:
        self._local = host
        self.host = host.name
        self.user: str | None = "root"

    def connect(self) -> None:
        refused = self._local.refuses > 0
        self._local.refuses -= refused
        if self._local.lost or refused:
            raise UnreachableError(self.host, "no route to host", hint="is it up?")

    def open(self, command: str) -> ProcessChannel:
        own = self._local.folder
        added = {"PATH": f"{own}/bin:{os.environ['PATH']}", "LOCAL_HOST": str(own)}
        return ProcessChannel(("/bin/sh", "-c", command), env={**os.environ, **added})

    def close(self) -> None:
        """Nothing is held."""
