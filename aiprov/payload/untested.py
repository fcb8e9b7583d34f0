"""What cannot be tested says so: it is not a failure, and never ok."""

from __future__ import annotations


class NotTestedError(Exception):
    """The device has no such thing, or it cannot be brought to it; the message says what."""
