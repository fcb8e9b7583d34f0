"""``python -m aiprov.faces [--check]``, from the project's root."""

from __future__ import annotations

import sys
from pathlib import Path

from aiprov.faces import stale


def main(arguments: list[str]) -> int:
    """Write what is stale, or with ``--check`` tell it and return 1."""
    root = Path.cwd()
    found = stale(root)
    for path, text in found.items():
        sys.stdout.write(f"{path.relative_to(root)}\n")
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
