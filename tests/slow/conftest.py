"""The slow tests' hosts come from the same lab as the others'."""

from tests.lab.conftest import lab_root

__all__ = ["lab_root"]
