"""Where in the archives' folder each repository is: by the vendor's host name and path."""

from __future__ import annotations

from aiprov.lab.vendor.packages import rdma

CUDA = "developer.download.nvidia.com/compute/cuda/repos"
TOOLKIT_BASE = "nvidia.github.io/libnvidia-container"
TOOLKIT = f"{TOOLKIT_BASE}/stable"
DOCKER = "download.docker.com"
KUBERNETES = "pkgs.k8s.io"
KERNELS = "kernels"
GDRCOPY = "developer.download.nvidia.com/compute/redist/gdrcopy"
DOCA = f"linux.mellanox.com/public/repo/doca/{rdma.DOCA}"
DEBIANS = ("debian12", "debian13")
UBUNTUS = ("ubuntu2204", "ubuntu2404", "ubuntu2604")
