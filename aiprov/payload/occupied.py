"""Whether GPUs are somebody's: a validation takes all of a GPU, and must not end a user's work."""

from __future__ import annotations

import subprocess

from .plan import Plan

TIMEOUT_S = 60
_QUERY = ("nvidia-smi", "--query-compute-apps=pid,name,gpu_uuid", "--format=csv,noheader")


class OccupiedError(Exception):
    """GPUs are in use, or nobody can say whether they are."""


def refuse_if_occupied(plan: Plan) -> None:
    """Raise ``OccupiedError`` where the plan has GPUs and processes compute on any of them."""
    if not any(cell.device.startswith("cuda") for cell in plan.cells):
        return
    try:
        done = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except OSError as error:
        raise OccupiedError(f"nvidia-smi: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise OccupiedError(f"nvidia-smi did not answer in {TIMEOUT_S} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise OccupiedError(f"nvidia-smi: {said[-1] if said else f'exit {done.returncode}'}")
    users = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if users:
        raise OccupiedError(f"GPUs are in use: {'; '.join(users[:8])}")
