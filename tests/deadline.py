"""Until when a run may begin tests. ``make test MINUTES=75`` sets it."""

from __future__ import annotations

import os

DEADLINE = float(os.environ.get("AIPROV_TEST_DEADLINE") or "inf")
"""Seconds since 1970."""

NO_TIME = "no time left: give make test more MINUTES"
