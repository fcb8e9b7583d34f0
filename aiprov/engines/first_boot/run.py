"""The steps in their order, with a journal that says after a power loss which are done."""

import contextlib
import fcntl
import importlib
import json
import logging
import os
import shutil
import sys
import time
from typing import Any, Dict, Iterator, List

from . import questions
from .commands import LOG, StepFailedError, must, run
from .journal import Journal

Step = Dict[str, Any]

STEPS = "/var/lib/aiprov/first-boot.steps.json"
UNIT = "aiprov-first-boot.service"
LOCK = "/run/aiprov-first-boot.lock"
LOG_FILE = "/var/log/aiprov-first-boot.log"
# In this order: what a power loss leaves of it is not started at the next boot.
REMOVED_WHEN_DONE = (
    "/var/lib/aiprov/first-boot.py",
    "/var/lib/aiprov/first_boot",
    "/etc/systemd/system/" + UNIT,
)

HANDLERS = {
    "PackageLists": ("packages", "fetch_lists"),
    "Packages": ("packages", "ensure_packages"),
    "File": ("paths", "ensure_file"),
    "Directory": ("paths", "ensure_directory"),
    "Link": ("paths", "ensure_link"),
    "Absent": ("paths", "ensure_absent"),
    "KernelModule": ("kernel", "ensure_module"),
    "Sysctl": ("kernel", "ensure_sysctl"),
    "KernelArgument": ("kernel", "ensure_argument"),
    "Service": ("units", "ensure_service"),
    "User": ("accounts", "ensure_user"),
    "Group": ("accounts", "ensure_group"),
}
"""Module and function of each kind. Only modules that the steps need are shipped."""


class RebootError(Exception):
    """Not a failure: nothing more can be done before the host has rebooted."""


def main(argv: List[str]) -> int:
    """``run`` (by cloud-init), ``resume`` (by the unit), ``retry`` (by a person after a failure).

    ``wants-reboot`` is cloud-init's question; exit 0 says yes.
    """
    verb = argv[1] if len(argv) > 1 else "run"
    if verb == "wants-reboot":
        return 0 if Journal().waits_for_reboot() else 1
    with _alone():
        journal = Journal()
        if os.path.exists(STEPS):
            _log_to_file()
            return _all_steps(verb, journal)
        if journal.all_done():  # a power loss cut its end off
            _end(journal)
        return 0


def _all_steps(verb: str, journal: Journal) -> int:
    with open(STEPS, encoding="utf-8") as source:
        document = json.load(source)
    if verb == "resume" and not journal.unfinished():
        return 0  # it failed for a reason; a retry is for a person to start
    journal.begin(document["steps"], document["written"])
    try:
        for number, step in enumerate(document["steps"]):
            if not journal.is_done(number):
                _one_step(number, step, journal)
    except RebootError:
        LOG.info("rebooting")
        if verb != "run":  # cloud-init reboots by its power_state, once its own records are written
            must(["systemctl", "enable", UNIT])
            must(["systemctl", "reboot"])
        return 0
    except StepFailedError:
        run(["systemctl", "disable", UNIT])
        return 1
    os.unlink(STEPS)
    _end(journal)
    return 0


def _one_step(number: int, step: Step, journal: Journal) -> None:
    began = time.monotonic()
    LOG.info("== %s", step["address"])
    try:
        changed = _realise(number, step, journal)
    except (StepFailedError, OSError) as error:
        LOG.error("failed: %s", error)
        journal.record(number, "failed", False, time.monotonic() - began, str(error))
        raise StepFailedError(str(error)) from error
    journal.record(number, "done", changed, time.monotonic() - began)


def _realise(number: int, step: Step, journal: Journal) -> bool:
    if step["kind"] == "Command":
        if questions.answer(step["unless"]) and not journal.changed(step["after"]):
            return False
        must(step["argv"], stdin=step.get("stdin", ""), hidden=step.get("hidden", ()))
        return True
    if step["kind"] == "Reboot":
        return _reboot(number, step, journal)
    if step["kind"] == "Service":
        step = {**step, "created": journal.created}
    elif step["kind"] == "File" and not os.path.lexists(step["path"]):
        journal.created.append(step["path"])
    module, function = HANDLERS[step["kind"]]
    handler = getattr(importlib.import_module("." + module, __package__), function)
    return bool(handler(step))


def _reboot(number: int, step: Step, journal: Journal) -> bool:
    if journal.rebooted_for(number):
        return True
    if questions.answer(step["unless"]) and not journal.changed(step["after"]):
        return False
    journal.wait_for_reboot(number)
    raise RebootError


def _end(journal: Journal) -> None:
    """Say that it is done, now that what may hold secrets is gone, and remove this program."""
    journal.finish()
    run(["systemctl", "disable", UNIT])
    for path in REMOVED_WHEN_DONE:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    run(["systemctl", "daemon-reload"])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Only one of us at a time: after a power loss cloud-init and the unit may both start."""
    handle = os.open(LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _log_to_file() -> None:
    handle = os.open(LOG_FILE, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
    LOG.setLevel(logging.INFO)
    for stream in (os.fdopen(handle, "a", encoding="utf-8"), sys.stderr):
        target = logging.StreamHandler(stream)
        target.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(target)
