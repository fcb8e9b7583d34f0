"""``aiprov ranks`` as a user runs it; what ranks printed was recorded with PyTorch and gloo."""

from __future__ import annotations

import base64
import io
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result

from aiprov import payload_files
from aiprov.checks.launched import cell_in, judge
from aiprov.cli import root
from aiprov.errors import AiprovError
from aiprov.payload.launchers import world

RECORDED = Path(__file__).with_name("launched")


def run(*words: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(root, ["ranks", *words], standalone_mode=False, input=given)


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


# ---------------------------------------------------------------- what ranks printed

GOOD, LOGS = recorded("collective.out"), recorded("job.out")
PARTS = GOOD.splitlines(keepends=True)
POD = b"".join(LOGS.splitlines(keepends=True)[:6])
CASES: dict[str, tuple[str, bytes, str, str]] = {
    "all is well": ("collective.sh", GOOD, "ok", "gpu01: ok"),
    "a wrong element": (
        "collective.sh", recorded("collective_wrong.out"), "failed", "wrong results: 1, must be"),
    "a rank left": (
        "collective.sh", recorded("collective_left.out"), "not measured",
        "rank 1 ended without a word"),
    "a rank said garbage": (
        "collective.sh", recorded("collective_garbage.out"), "not measured", "what is no event"),
    "nothing": ("collective.sh", b"", "not measured", "rank 0 ended without a word"),
    "cut off": ("collective.sh", GOOD[:-20], "not measured", "ended without a word"),
    "cut within": (
        "collective.sh", GOOD[:300] + GOOD[320:], "not measured", "what is no event"),
    "one rank's line is lost": ("collective.sh", PARTS[0], "not measured", "ended without a word"),
    "a rank twice": ("collective.sh", GOOD + PARTS[0], "not measured", "after its end"),
    "standard error too": (
        "collective.sh", b"srun: job 7 queued\n" + GOOD, "not measured", "srun: job 7 queued"),
    "of another test": ("ddp.sh", GOOD, "not measured", "did another test than was rendered"),
    "another world": (
        "collective.sh", GOOD.replace(b'world\\": 2', b'world\\": 4'), "not measured",
        "was one of 4, not of 2"),
    "training": ("ddp.sh", recorded("ddp.out"), "ok", "tokens/s"),
    "training with a bit flipped": (
        "ddp.sh", recorded("ddp_wrong.out"), "failed", "unlike steps"),
    "logs of pods": ("job.yaml", LOGS, "ok", "aiprov-reduce-scatter-1: ok"),
    "logs have other lines": ("job.yaml", LOGS, "ok", "8 lines of the logs are no events"),
    "one pod's log": ("job.yaml", POD, "not measured", "rank 2 ended without a word"),
    "a cut line in a log": (
        "job.yaml", LOGS.replace(b'"left": 0', b'"le', 1), "not measured", "what is no event"),
    "others have met": (
        "job.yaml", recorded("job_met_too_few.out"), "not measured",
        "2 ranks have met, and the cell has 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_ranks_printed_is_judged(name: str):
    rendered, output, verdict, says = CASES[name]
    shown = run("judge", str(RECORDED / rendered), given=output)
    assert shown.stdout.startswith(f"{verdict}: ")
    assert says in shown.stdout
    assert shown.return_value == (0 if verdict == "ok" else 3)
    document = json.loads(run("judge", str(RECORDED / rendered), "--json", given=output).stdout)
    assert document["verdict"] == verdict
    cell, logged = cell_in((RECORDED / rendered).read_text())
    assert len(document["checks"]) == world(cell) // len(cell.devices)
    assert logged == (rendered == "job.yaml")


@pytest.mark.parametrize("name", ["collective.sh", "ddp.sh"])
def test_no_part_of_an_output_is_ok(name: str):
    whole = recorded(name.replace(".sh", ".out"))
    cell, _ = cell_in((RECORDED / name).read_text())
    for length in range(0, len(whole), 7):
        (check,) = judge(cell, whole[:length]).checks
        assert check.verdict == "not measured", length


def test_a_fault_that_was_told_fails_though_its_rank_never_ended():
    fault = recorded("collective_wrong.out").splitlines(keepends=True)[0]
    cell, _ = cell_in((RECORDED / "collective.sh").read_text())
    assert [check.verdict for check in judge(cell, fault).checks] == ["failed"]


def test_hosts_that_ranks_do_not_tell_apart_are_numbered():
    cell, _ = cell_in((RECORDED / "job.yaml").read_text())
    for said in (b"scatter-0", b"scatter-\\\\u001b"):
        found = judge(cell, LOGS.replace(b"scatter-1", said), logged=True)
        assert [check.subject.host for check in found.checks] == ["node 0", "node 1"]
        assert {check.verdict for check in found.checks} == {"ok"}


# ---------------------------------------------------------------- what is rendered


def test_srun_is_a_command_that_judge_reads():
    text = run("srun", "all_reduce", "--nodes", "4", "--partition", "gpu", "--size", "1GiB",
               "--budget", "2m").stdout  # fmt: skip
    comment, command = text.splitlines()
    assert comment == "# all_reduce of 1 GiB for 120 s, 32 ranks"
    words = shlex.split(command)
    assert {"srun", "--partition=gpu", "--nodes=4", "--ntasks=32", "--time=18"} <= set(words)
    assert not any(word.startswith("--nodelist") for word in words)
    assert words[words.index("rank") - 1] == "/opt/aiprov/validation/payload"
    cell, logged = cell_in(f"#!/bin/sh\n#SBATCH --nodes=4  # they're ours\n{text}")
    assert (world(cell), cell.parameters["bytes"], logged) == (32, [1 << 30], False)


def test_named_nodes_are_those_that_are_used():
    words = shlex.split(run("srun", "fsdp", "--nodelist", "gpu07,gpu12").stdout, comments=True)
    assert {"--nodes=2", "--nodelist=gpu07,gpu12", "--ntasks=16"} <= set(words)


@pytest.mark.parametrize("words", [["ddp", "--nodes", "2", "--runtime-class", "nvidia"],
                                   ["all_to_all", "--gpus", "4", "--resource", "amd.com/gpu"],
                                   ["send_recv", "--gpus", "2", "--device", "cpu"]])  # fmt: skip
def test_a_job_is_of_kubernetes_schemas_and_brings_the_payload(words: list[str]):
    text = run("job", *words, "--image", "registry.example/torch", "-n", "gpu-tests").stdout
    made: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    assert [one["kind"] for one in made] == ["ConfigMap", "Service", "Job"]
    assert {one["metadata"]["namespace"] for one in made} == {"gpu-tests"}
    for one in made:
        kubernetes_validate.validate(one, "1.33", strict=True)
    packed = base64.b64decode(made[0]["binaryData"]["aiprov_payload.zip"])
    with zipfile.ZipFile(io.BytesIO(packed)) as found:
        inside = {name: found.read(name).decode() for name in found.namelist()}
    assert inside == {f"aiprov_payload/{k}": text for k, text in payload_files.files().items()}
    assert len(text) < 262144, "kubectl apply keeps it as an annotation"
    pod = made[2]["spec"]["template"]["spec"]
    assert pod.get("runtimeClassName") == ("nvidia" if "--runtime-class" in words else None)
    resource = "amd.com/gpu" if "--resource" in words else "nvidia.com/gpu"
    limits = pod["containers"][0]["resources"]["limits"]
    assert list(limits) == ([] if "cpu" in words else [resource])
    assert cell_in(text)[1]


REFUSED = {
    "one rank": (["srun", "all_reduce", "--gpus", "1"], "one rank has nobody"),
    "size": (["srun", "all_reduce", "--size", "1GB"], "'1GB' is no size"),
    "time": (["srun", "all_reduce", "--budget", "soon"], "'soon' is no time"),
    "model of a collective": (["srun", "all_reduce", "--model", "1b"], "--model says nothing"),
    "size of training": (["srun", "ddp", "--size", "1GiB"], "--size says nothing of ddp"),
    "model": (["srun", "ddp", "--model", "gpt"], "there is no model gpt"),
    "ranges": (["srun", "ddp", "--nodelist", "gpu[1-4]"], "each node is named once"),
    "twice": (["srun", "ddp", "--nodelist", "a,a"], "each node is named once"),
    "numbers": (["srun", "ddp", "--nodelist", "a,b", "--nodes", "3"], "--nodelist names 2"),
    "payload": (["srun", "ddp", "--payload", "it's"], "No closing quotation"),
    "no payload": (["srun", "ddp", "--payload", ""], "--payload is empty"),
    "name": (["job", "ddp", "--image", "i", "--name", "All"], "--name All is no name"),
    "no file": (["judge", "nowhere.sh"], "nowhere.sh: No such file"),
    "not rendered": (["judge", str(RECORDED / "job.out")], "0 tests are in what was rendered"),
    "GPUs of a processor": (
        ["judge", str(RECORDED / "ddp.sh"), "--gpu", "10de:2330"], "the test is of processors"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_a_way_out(name: str):
    words, says = REFUSED[name]
    error = run(*words).exception
    assert isinstance(error, AiprovError)
    assert says in error.message
    assert error.hint


BAD_CELLS = {
    "two": "srun p rank --cell '{}' --cell '{\"a\": 1}'",
    "no test": "srun p rank --cell '{}'",
    "no JSON": "srun p rank --cell all_reduce",
    "a self-test": (RECORDED / "collective.sh").read_text().replace(
        '"operation"', '"inject": {}, "operation"'),
    "no such place": run("srun", "ddp", "--nodes", "2").stdout.replace(
        '"nodes": 2', '"nodes": "2"'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CELLS)
def test_a_rendered_file_that_was_changed_is_refused(name: str, tmp_path: Path):
    (tmp_path / "test.sh").write_text(BAD_CELLS[name])
    error = run("judge", str(tmp_path / "test.sh"), given=GOOD).exception
    assert isinstance(error, AiprovError)
    assert error.hint


# ---------------------------------------------------------------- of GPUs


def on_gpus(seconds: float) -> tuple[str, bytes]:
    """An all-reduce on eight GPUs, and what they would print of it."""
    text = run("srun", "all_reduce", "--size", "1GiB").stdout
    cell, _ = cell_in(text)
    size = {"bytes": 1 << 30, "iterations": 5, "verified": 7, "faults": 0, "seconds": seconds}
    lines = []
    for rank in range(8):
        result = {"world": 8, "cell": cell.id, "host": "gpu01", "operation": "all_reduce",
                  "sizes": [size]}  # fmt: skip
        event = json.dumps({"event": "end", "status": "done", "result": result})
        lines.append(json.dumps({"rank": rank, "left": 0, "part": event}))
    return text, "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("seconds", "gpu", "verdict"),
    [(0.0042, ["--gpu", "10de:2330"], "ok"), (0.042, ["--gpu", "10de:2330"], "failed"),
     (0.00042, ["--gpu", "10de:2330"], "not measured"), (0.042, [], "ok")],
)  # fmt: skip
def test_rates_are_held_against_the_links_of_gpus_that_are_named(
    seconds: float, gpu: list[str], verdict: str, tmp_path: Path
):
    text, output = on_gpus(seconds)
    (tmp_path / "test.sh").write_text(text)
    shown = run("judge", str(tmp_path / "test.sh"), *gpu, given=output)
    assert shown.stdout.startswith(verdict), shown.stdout
