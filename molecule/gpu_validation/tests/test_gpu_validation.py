"""The gpu_validation role, seen from outside."""

from __future__ import annotations

import json
from typing import Any

FOLDER = "/opt/aiprov/validation"
PLAN = {
    "format_version": "1.0",
    "campaign": "molecule",
    "stagger_s": 0,
    "self_test": False,
    "cells": [
        {
            "kind": "gemm",
            "device": "cpu:0",
            "limit_s": 120,
            "seed": 1,
            "parameters": {"dtype": "fp32", "n": 64, "phase": "B", "seconds": 1},
        }
    ],
}


def test_pytorch_is_in_an_environment_of_its_own(host: Any) -> None:
    said = host.check_output(
        f"{FOLDER}/venv/bin/python -c 'import torch; print(torch.__version__)'"
    )
    assert said.startswith("2.")
    assert host.run("/usr/bin/python3 -c 'import torch'").rc != 0


def test_the_payload_does_a_plan(host: Any) -> None:
    plan, journal = "/tmp/molecule.plan.json", "/tmp/molecule.jsonl"  # noqa: S108
    host.run_expect([0], f"echo '{json.dumps(PLAN)}' > {plan}")
    run = f"{FOLDER}/payload run --journal {journal} --no-telemetry < {plan}"
    host.run_expect([0], run)
    events = [json.loads(line) for line in host.file(journal).content_string.splitlines()]
    assert [event["status"] for event in events if event["event"] == "end"] == ["done"]


def test_the_contract_says_what_should_be_there(host: Any) -> None:
    contract = json.loads(host.file("/etc/aiprov/expectations.json").content_string)
    assert contract["gpu_count"] == 2
    state = host.file("/var/lib/aiprov/validation")
    assert (state.mode, state.user) == (0o700, "root")
