"""From a host and wishes to one set of versions that fit together, or to why there is none."""

from __future__ import annotations

from aiprov.catalog.resolution import Asked, Refusal, Resolution


def resolve(asked: Asked) -> Resolution | Refusal:
    """The set that fits. Never raises for wishes that contradict each other: that is a ``Refusal``.

    Raises ``CatalogError`` for a GPU or version that the catalog does not know.
    """
    raise NotImplementedError
