"""A real Kubernetes for lab hosts: built from Debian's source, served as packages and images.

What is built is upstream's own code and not in the project. Two things about it are the lab's: the
packages and images are put together here, and every version but 1.20.2 is the same source with
another number on it, for trying upgrades.
"""

from aiprov.lab.kubernetes.build import Release, ensure
from aiprov.lab.kubernetes.source import UPSTREAM

__all__ = ["UPSTREAM", "Release", "ensure"]
