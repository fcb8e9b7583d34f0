"""Where everything of validation lies on a host, for this role and for who runs the payload."""

from __future__ import annotations

from aiprov import payload_files
from aiprov.checks import expectations

FOLDER = "/opt/aiprov/validation"
LIBRARY = f"{FOLDER}/lib"
"""The import path of the payload."""
PACKAGE = f"{LIBRARY}/{payload_files.PACKAGE}"
VENV = f"{FOLDER}/venv"
LAUNCHER = f"{FOLDER}/payload"
"""Runs the payload, wherever its PyTorch is: ``LAUNCHER run --journal FILE``, the plan on stdin."""
VERSION = f"{FOLDER}/version"
"""``payload_files.version()`` of what lies here, and a line feed."""
EXPECTATIONS = expectations.PATH
STATE = "/var/lib/aiprov/validation"
"""Plans and journals: ``<campaign>.plan.json``, ``<campaign>.jsonl``."""
UNIT = "aiprov-validate.service"
"""The transient unit that a campaign runs in: one at a time on a host."""
PROGRAM = "gpu-validation"
FOLDERS = ("/opt/aiprov", FOLDER, LIBRARY, PACKAGE, "/etc/aiprov", "/var/lib/aiprov")
