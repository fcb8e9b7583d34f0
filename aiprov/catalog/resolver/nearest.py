"""What works nearby: the wishes changed as little as makes them work, one or two at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from aiprov.catalog import containerd_lines, cuda, kubernetes
from aiprov.catalog.resolution import Asked, Resolution
from aiprov.catalog.resolver.answer import answer
from aiprov.errors import CatalogError

MOST = 3

Change = tuple[str, dict[str, object]]
"""What is changed, in words, and as fields of the question."""


def nearest(asked: Asked) -> tuple[str, ...]:
    """At most three sets that work, each with what was changed for it.

    Of several values that a wish could have it is the newest that works; what works without
    warnings comes first.
    """
    changes = list(_changes(asked))
    for number in (1, 2):
        found: dict[tuple[str, ...], tuple[int, str]] = {}
        for some in combinations(changes, number):
            fields = {name: value for _, change in some for name, value in change.items()}
            names = tuple(fields)
            if len(names) < number or found.get(names, (1, ""))[0] == 0:
                continue  # two changes of one wish, or nothing to be had that is better
            made = _worked(asked, fields)
            if made is not None and len(made.warnings) < found.get(names, (99, ""))[0]:
                words = " and ".join(words for words, _ in some)
                found[names] = (len(made.warnings), f"{words}: {_set(made)}")
        if found:
            best = sorted(found.values(), key=lambda one: one[0])
            return tuple(text for _, text in best[:MOST])
    return ()


def _worked(asked: Asked, fields: dict[str, object]) -> Resolution | None:
    try:
        made = answer(replace(asked, **fields))  # type: ignore[arg-type]
    except CatalogError:
        return None
    return made if made.ok else None


def _changes(asked: Asked) -> Iterator[Change]:
    """One change of one wish each, the smallest first."""
    if asked.driver is not None:
        yield "with another driver", {"driver": None}
    if asked.modules is not None:
        other = "open" if asked.modules == "proprietary" else "proprietary"
        yield f"with {other} kernel modules", {"modules": other}
    if asked.cuda:
        if len(asked.cuda) > 1:
            for version in asked.cuda:
                rest = tuple(other for other in asked.cuda if other != version)
                yield f"without CUDA {version}", {"cuda": rest}
        for row in reversed(cuda.toolkits()):
            if row.version not in asked.cuda:
                yield f"with CUDA {row.version}", {"cuda": (row.version,)}
    if asked.containerd is not None:
        for line in reversed(containerd_lines()):
            yield f"with containerd {line.version}", {"containerd": line.version}
    if asked.kubernetes is not None:
        for known in reversed(kubernetes.lines()):
            yield f"with Kubernetes {known.version}", {"kubernetes": known.version}
    if asked.source is None and asked.driver is not None:
        yield "from the distribution's archive", {"source": "distribution"}
    if asked.source is not None:
        yield "from another source", {"source": None}
    if asked.secure_boot and not asked.mok_enrolled:
        yield "with an enrolled machine owner key", {"mok_enrolled": True}
        yield "without Secure Boot", {"secure_boot": False}


def _set(made: Resolution) -> str:
    """A set in words."""
    parts = []
    if made.driver is not None:
        where = "NVIDIA's" if made.driver.source == "nvidia" else "the distribution's"
        parts.append(
            f"{where} driver {made.driver.version or made.driver.branch}, "
            f"{made.driver.kernel_modules} kernel modules"
        )
    parts += [f"CUDA {item.version}" for item in made.cuda]
    if made.containerd is not None:
        parts.append(f"containerd {made.containerd.version}")
    if made.kubernetes is not None:
        parts.append(f"Kubernetes {made.kubernetes}")
    return ", ".join(parts)
