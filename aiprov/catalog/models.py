"""GPUs by what people call them: ``H200``, ``A100 80GB``."""

from __future__ import annotations

import re
from difflib import get_close_matches

from aiprov.catalog import gpus
from aiprov.errors import CatalogError

_ID = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}")
_BY_ID = "any GPU, GeForce too, can be given by its PCI id, as lspci -nn says it: 10de:2335"


def pci_id(word: str) -> str:
    """The PCI id of a GPU that is given by id or by model.

    A model's words must all be in its name; where several models have them, one that has no others
    wins. Raises ``CatalogError`` for no match, naming the nearest, and for several, naming theirs.
    """
    if ":" in word and (_ID.fullmatch(word) or word.lower().startswith(f"{gpus.NVIDIA}:")):
        return word.lower()
    wanted = _words(word)
    found = [row for row in gpus.gpus() if wanted and wanted <= _words(row.name)]
    exact = [row for row in found if _words(row.name) - {"nvidia", "tesla"} == wanted]
    found = exact or found
    if len(found) == 1:
        return found[0].pci_id
    if found:
        ids = ", ".join(f"{row.pci_id} ({row.name})" for row in found[:12])
        raise CatalogError(
            f"{word!r} is the name of {len(found)} GPUs", hint=f"give one of the ids: {ids}"
        )
    names = {row.name.lower(): row for row in gpus.gpus()}
    near = get_close_matches(word.lower(), names, n=3, cutoff=0.3)
    ids = ", ".join(f"{names[name].pci_id} ({names[name].name})" for name in near)
    raise CatalogError(
        f"{word!r} is no GPU that the catalog knows",
        hint=f"did you mean {ids}? {_BY_ID}" if ids else _BY_ID,
    )


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
