"""What has been done, on disk after every step: it outlives reboots and power losses."""

import json
import os
import time
from typing import Any, Dict, List

from .commands import StepFailedError

RESULT = "/var/lib/aiprov/first-boot.json"
FORMAT_VERSION = "1.0"

Step = Dict[str, Any]


def boot_id() -> str:
    """The id of this boot: another one proves a reboot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as source:
        return source.read().strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Journal:
    """The result document, as far as it has come."""

    def __init__(self) -> None:
        self.document: Dict[str, Any] = {}
        self.created: List[str] = []
        try:
            with open(RESULT, encoding="utf-8") as source:
                self.document = json.load(source)
        except FileNotFoundError:
            pass
        self.created = self.document.get("created", [])

    def begin(self, steps: List[Step], written: List[str]) -> None:
        """Start anew, or go on where the same steps were cut off. ``written``: by cloud-init.

        What has ended is no guide for a new start: an image may be made of a host that is done.
        """
        addresses = [step["address"] for step in steps]
        known = [entry["address"] for entry in self.document.get("steps", ())]
        if known != addresses or not self.unfinished():
            entries = [{"address": name, "status": "not run"} for name in addresses]
            self.document = {"format_version": FORMAT_VERSION, "started": _now(), "steps": entries}
            self.created = []
        self.document["written"] = written
        self.document["status"] = "running"
        for entry, step in zip(self.document["steps"], steps):
            if "covers" in step:
                entry["covers"] = step["covers"]
        self._save()

    def unfinished(self) -> bool:
        """Whether it was cut off, by a reboot of its own or by a power loss."""
        return self.document.get("status") in (None, "running", "rebooting")

    def all_done(self) -> bool:
        """Whether a first boot was here, and no step of it is left to do."""
        steps = self.document.get("steps", ())
        return bool(steps) and all(entry["status"] == "done" for entry in steps)

    def is_done(self, number: int) -> bool:
        """Whether the step needs no more."""
        return bool(self.document["steps"][number]["status"] == "done")

    def changed(self, addresses: List[str]) -> bool:
        """Whether one of the resources was changed by this first boot."""
        names = set(addresses)
        made = set(self.document["written"])
        for entry in self.document["steps"]:
            if entry.get("changed"):
                made.update(entry.get("covers", [entry["address"]]))
        return bool(names & made)

    def record(
        self, number: int, status: str, changed: bool, seconds: float, message: str = ""
    ) -> None:
        """Write down how a step ended."""
        entry = self.document["steps"][number]
        entry.update(status=status, changed=changed, seconds=round(seconds, 2), message=message)
        if status == "failed":
            self.document.update(status="failed", finished=_now())
        self._save()

    def finish(self) -> None:
        """All steps are done."""
        self.document.update(status="done", finished=_now())
        self._save()

    def wait_for_reboot(self, number: int) -> None:
        """The step is done when this boot is over."""
        self.document.update(status="rebooting", boot_id=boot_id(), reboots_for=number)
        self._save()

    def waits_for_reboot(self) -> bool:
        """Whether a reboot was asked for in this very boot."""
        waits = self.document.get("status") == "rebooting"
        return waits and self.document.get("boot_id") == boot_id()

    def rebooted_for(self, number: int) -> bool:
        """Whether the host has rebooted for that step."""
        asked = self.document.get("reboots_for") == number
        return asked and self.document.get("boot_id") != boot_id()

    def _save(self) -> None:
        self.document["created"] = self.created
        staged = RESULT + ".new"
        try:
            os.makedirs(os.path.dirname(RESULT), exist_ok=True)
            with open(staged, "w", encoding="utf-8") as target:
                json.dump(self.document, target, indent=1, sort_keys=True)
                target.write("\n")
                target.flush()
                os.fsync(target.fileno())
            os.replace(staged, RESULT)
        except OSError as error:
            raise StepFailedError(f"{RESULT}: {error.strerror}") from error
