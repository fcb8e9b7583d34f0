"""The command line of the payload.

run --journal FILE    do the plan on standard input; 0: all cells have an end, 1: stopped,
                      2: it could not begin (the plan, the journal, GPUs in use)
        --no-telemetry    do not ask nvidia-smi and links: there are none
links                 say in JSON what NVLinks, PCI Express links and ports say
worker DEVICE         do cells from standard input, say events on standard output
        --ranks           with a process a device, started by torchrun
rank --cell JSON      be one rank of a cell: what torchrun, srun or a Job starts
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import List, Optional

from . import links
from .journal import Journal, JournalError
from .occupied import OccupiedError, refuse_if_occupied
from .plan import PlanError, plan_from
from .supervisor import Supervisor
from .telemetry import COMMAND


def main(words: Optional[List[str]] = None) -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="aiprov_payload", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("--journal", required=True)
    run.add_argument("--no-telemetry", action="store_true")
    verbs.add_parser("links")
    worker = verbs.add_parser("worker")
    worker.add_argument("device")
    worker.add_argument("--ranks", action="store_true")
    rank = verbs.add_parser("rank")
    rank.add_argument("--cell", required=True)
    arguments = parser.parse_args(words)
    if arguments.verb == "rank":
        from .rank import be_rank

        return be_rank(arguments.cell)
    if arguments.verb == "worker" and arguments.ranks:
        from .ranks import work_with_ranks

        return work_with_ranks()
    if arguments.verb == "worker":
        from .worker import work  # only workers have PyTorch

        return work(arguments.device)
    if arguments.verb == "links":
        sys.stdout.write(f"{json.dumps(links.read())}\n")
        return 0
    try:
        plan = plan_from(sys.stdin.read())
        refuse_if_occupied(plan)
        journal = Journal(arguments.journal)
    except (PlanError, OccupiedError, JournalError) as error:
        sys.stderr.write(f"aiprov_payload: {error}\n")
        return 2
    own = [sys.executable, "-m", __name__.rpartition(".")[0]]
    without = arguments.no_telemetry
    try:
        supervisor = Supervisor(
            plan=plan,
            journal=journal,
            worker=[*own, "worker"],
            telemetry=None if without else COMMAND,
            links=None if without else [*own, "links"],
        )
        return 0 if supervisor.run() else 1
    finally:
        journal.close()
