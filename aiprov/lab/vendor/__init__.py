"""Stand-in vendor repositories: small signed packages by the vendors' names, for the lab's hosts.

They have the vendors' names, versions, dependencies and file layout, so that roles run end to end
through the real apt, dnf, dkms and systemd, and none of the vendors' code. Every package says what
it is: in its description, in its README, and its programs in ``--version`` or ``--help``.
"""

from aiprov.lab.vendor.archive import Archive, Kind, ensure

__all__ = ["Archive", "Kind", "ensure"]
