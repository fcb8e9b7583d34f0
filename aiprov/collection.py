"""Makes a checkout usable as the Ansible collection ``aiprov.core``, by one link inside it."""

from __future__ import annotations

from pathlib import Path

from aiprov.errors import UsageError

PLACE = Path(".collections/ansible_collections/aiprov/core")
TARGET = Path("../../..")


def link(root: Path) -> Path:
    """Make the link below ``root``, where it is not there yet, and return its path.

    Raises ``UsageError`` when ``root`` is no checkout or something else is in the link's place.
    """
    if not (root / "galaxy.yml").is_file():
        raise UsageError(f"{root} has no galaxy.yml", hint="run this in a checkout of aiprov")
    place = root / PLACE
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(TARGET, target_is_directory=True)
    except FileExistsError:
        if not place.is_symlink() or place.readlink() != TARGET:
            hint = "move it away; it must be a link to the checkout"
            raise UsageError(f"{place} is something else", hint=hint) from None
    return place


if __name__ == "__main__":
    link(Path.cwd())
