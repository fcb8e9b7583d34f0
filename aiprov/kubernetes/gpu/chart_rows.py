"""Charts of the catalog as releases: with the user's repository, version and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiprov.catalog import kubernetes_gpu
from aiprov.kubernetes.charts import Chart
from aiprov.kubernetes.gpu.options import Gpus
from aiprov.values import laid_over


def chart(
    gpus: Gpus, name: str, *, namespace: str, values: Mapping[str, Any], main: bool = False
) -> Chart:
    """A release of the catalog's chart of that name.

    ``main``: it is the stack's own, which the user's settings of charts are for.
    """
    row = kubernetes_gpu.chart(name)
    repository, version, sha256 = row.repository, row.version, row.sha256
    if main:
        values = laid_over(values, gpus.chart_values)
        repository = gpus.chart_repository or repository
        if gpus.chart_version is not None and gpus.chart_version != version:
            version, sha256 = gpus.chart_version, None  # the catalog's checksum is of another
        sha256 = gpus.chart_sha256 or sha256
    return Chart(
        name=name,
        namespace=namespace,
        repository=repository,
        chart=name,
        version=version,
        sha256=sha256,
        values=values,
    )
