"""From a host and wishes to one set of versions that fit together, or to why there is none.

One module a concern: the driver, its packages, CUDA, containerd with Kubernetes, and what works
nearby. All of them are pure: the same question has the same answer.
"""

from __future__ import annotations

from aiprov.catalog.resolution import Asked, Refusal, Resolution
from aiprov.catalog.resolver.answer import answer
from aiprov.catalog.resolver.nearest import nearest


def resolve(asked: Asked) -> Resolution | Refusal:
    """The set that fits. Never raises for wishes that contradict each other: that is a ``Refusal``.

    Raises ``CatalogError`` for a GPU or version that the catalog does not know.
    """
    found = answer(asked)
    if found.ok:
        return found
    return Refusal(conflicts=found.conflicts, nearest=nearest(asked), warnings=found.warnings)
