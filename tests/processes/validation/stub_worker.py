"""In place of the payload's worker: says what a good GPU would, or what its host is told it has."""

import json
import os
import sys
import time
from pathlib import Path


def say(event, **fields):
    os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


def work(device):
    for number, line in enumerate(sys.stdin):
        cell = json.loads(line)
        while number and told_of(device).get("holds") and not of_host("goes-on").exists():
            time.sleep(0.02)
        do(cell["parameters"], cell["seed"], told_of(device))
    return 0


def of_host(name):
    return Path(os.environ["LOCAL_HOST"]) / name


def told_of(device):
    return json.loads(of_host("faults.json").read_text()).get(device, {})


def do(parameters, seed, told):
    time.sleep(told.get("seconds", 0.02))
    faults = told.get("faults", 0)
    for number in range(faults):
        say("fault", what="product", product=number)
    if told.get("crash"):
        os._exit(3)
    flop = 2.0 * parameters["n"] ** 3 * 1000
    result = {name: parameters[name] for name in ("dtype", "phase", "n")}
    result.update(
        products=1000,
        verified=1000,
        faults=faults,
        flop=flop,
        seconds=flop / (told.get("tflops", 500.0) * 1e12),
        hardware="stub",
        software="stub",
        references=[{"seed": seed, "hash": told.get("hash", "good")}],
    )
    say("end", status="done", result=result)
