"""Links as hosts tell of them: published outputs of nvidia-smi nvlink, and trees of sysfs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov.payload import links
from aiprov.payload.command import main
from aiprov.payload.links import nvlink_counters, nvlink_speeds

CASES = Path(__file__).parents[2] / "checks" / "nvlink"
NAMES = sorted(path.stem for path in CASES.glob("*.yml"))
ADDRESS = "0000:19:00.0"


@pytest.mark.parametrize("name", NAMES)
def test_what_nvidia_smi_says_of_nvlinks(name: str):
    told = yaml.safe_load((CASES / f"{name}.yml").read_text(encoding="utf-8"))
    assert told["source"]
    assert "status" in told or "errors" in told
    if "status" in told:
        assert nvlink_speeds(told["status"]) == told["speeds"]
    if "errors" in told:
        assert nvlink_counters(told["errors"]) == told["counters"]


@pytest.mark.parametrize("text", ["", "No devices were found", "GPU 0: NVIDIA GB300\n Link 0: x"])
def test_what_tells_of_no_gpu_is_refused(text: str):
    for parse in (nvlink_speeds, nvlink_counters):
        with pytest.raises(ValueError, match="tells of no GPU"):
            parse(text)


# ---------------------------------------------------------------- sysfs


def tree(root: Path, files: dict[str, Any]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return str(root)


def pci(address: str, **files: Any) -> dict[str, Any]:
    known = {"vendor": "0x10de", "class": "0x030200", "numa_node": 1, **files}
    return {f"sys/bus/pci/devices/{address}/{name}": text for name, text in known.items()}


def aer(correctable: int = 0, nonfatal: int = 0, fatal: int = 0) -> dict[str, str]:
    """As Linux prints them: each kind, and the total."""
    return {
        "aer_dev_correctable": f"RxErr {correctable}\nBadTLP 0\nTOTAL_ERR_COR {correctable}",
        "aer_dev_nonfatal": f"Undefined 0\nTLP {nonfatal}\nTOTAL_ERR_NONFATAL {nonfatal}",
        "aer_dev_fatal": f"DLP {fatal}\nTOTAL_ERR_FATAL {fatal}",
    }


def port(name: str, **files: Any) -> dict[str, Any]:
    known = {"state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "400 Gb/sec (4X NDR)",
             "link_layer": "InfiniBand", **files}  # fmt: skip
    adapter, number = name.split("/")
    folder = f"sys/class/infiniband/{adapter}/ports/{number}"
    counters = {f"counters/{one}": 0 for one in links.COUNTERS}
    return {f"{folder}/{key}": text for key, text in {**counters, **known}.items()}


def test_gpus_their_nodes_and_their_pcie_errors(tmp_path: Path):
    root = tree(tmp_path, {
        **pci(ADDRESS, **aer(correctable=7, fatal=1)),
        **pci("0000:3b:00.0", numa_node=-1),
        **pci("0000:05:00.0", **{"class": "0x068000"}),
        **pci("0000:06:00.0", vendor="0x8086"),
    })  # fmt: skip
    assert links.gpus(root) == {
        ADDRESS: {
            "numa_node": 1,
            "aer": {"correctable": 7, "nonfatal": 0, "fatal": 1},
            "upstream": None,
            "way": [],
        },
        "0000:3b:00.0": {"numa_node": None, "aer": None, "upstream": None, "way": []},
    }


def test_the_port_that_a_gpu_is_at_counts_as_well(tmp_path: Path):
    above = "sys/devices/pci0000:10/0000:10:01.0"
    files = {f"{above}/{name}": text for name, text in aer(correctable=3).items()}
    for name, text in pci("x", **aer()).items():
        files[name.replace("sys/bus/pci/devices/x", f"{above}/{ADDRESS}")] = text
    root = Path(tree(tmp_path, files))
    (root / "sys/bus/pci/devices").mkdir(parents=True)
    (root / "sys/bus/pci/devices" / ADDRESS).symlink_to(root / above / ADDRESS)
    told = links.gpus(str(root))[ADDRESS]
    assert (told["aer"]["correctable"], told["upstream"]["correctable"]) == (0, 3)
    assert told["way"] == ["pci0000:10", "0000:10:01.0", ADDRESS]


def test_what_an_adapter_is_behind(tmp_path: Path):
    root = Path(tree(tmp_path, port("mlx5_0/1")))
    place = root / "sys/devices/pci0000:10/0000:10:01.0/0000:12:00.0"
    place.mkdir(parents=True)
    (root / "sys/class/infiniband/mlx5_0/device").symlink_to(place)
    told = links.ports(str(root))["mlx5_0/1"]
    assert told["way"] == ["pci0000:10", "0000:10:01.0", "0000:12:00.0"]


def test_counters_that_cannot_be_read_are_not_zero(tmp_path: Path):
    root = tree(tmp_path, pci(ADDRESS, **{**aer(), "aer_dev_fatal": "TOTAL_ERR_FATAL"}))
    assert links.gpus(root)[ADDRESS]["aer"] == {"correctable": 0, "nonfatal": 0, "fatal": None}


def test_ports(tmp_path: Path):
    root = tree(tmp_path, {
        **port("mlx5_0/1", **{"counters/symbol_error": 4}),
        **port("mlx5_1/1", state="1: DOWN", rate="10 Gb/sec (4X SDR)", link_layer="Ethernet"),
        **port("mlx5_2/1", rate="", **{"counters/link_downed": "N/A (no PMA)"}),
    })  # fmt: skip
    told = links.ports(root)
    assert list(told) == ["mlx5_0/1", "mlx5_1/1", "mlx5_2/1"]
    assert (told["mlx5_0/1"]["state"], told["mlx5_0/1"]["rate_gbps"]) == ("ACTIVE", 400)
    assert told["mlx5_0/1"]["counters"]["symbol_error"] == 4
    assert (told["mlx5_1/1"]["state"], told["mlx5_1/1"]["layer"]) == ("DOWN", "Ethernet")
    assert told["mlx5_2/1"]["rate_gbps"] is None
    assert told["mlx5_2/1"]["counters"]["link_downed"] is None
    assert links.ports(str(tmp_path / "nowhere")) == {}


# ---------------------------------------------------------------- all of it


def smi(path: Path, status: str, errors: str = "exit 0") -> tuple[str]:
    program = path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncase "$2" in -s) {status};; -e) {errors};; esac\n')
    program.chmod(0o755)
    return (str(program),)


ONE = "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo ' Link 0: 26.562 GB/s'"
COUNT = "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo ' Link 0: Replay Errors: 2'"


def test_speeds_and_counters_are_told_together(tmp_path: Path):
    told = links.read(str(tmp_path), smi(tmp_path, ONE, COUNT))
    assert told["nvlinks"] == {
        "GPU-1": {"speeds": {"0": 26.562}, "counters": {"0": {"Replay Errors": 2}}}
    }
    assert (told["gpus"], told["ports"], told["errors"]) == ({}, {}, [])
    assert links.parsed(json.loads(json.dumps(told))) == told


@pytest.mark.parametrize(
    ("status", "errors", "said"),
    [
        ("echo 'GPU is lost'; exit 15", COUNT, "nvlink -s: GPU is lost"),
        ("exit 9", COUNT, "exit status 9"),
        ("echo No devices were found", COUNT, "tells of no GPU"),
        (ONE, "echo Unknown Error; exit 255", "nvlink -e: Unknown Error"),
        ("sleep 60", COUNT, "nvlink -s did not end in 0.3 s"),
    ],
)
def test_what_cannot_be_asked_is_said_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, errors: str, said: str
):
    monkeypatch.setattr(links, "ASK_S", 0.3 if "sleep" in status else 25.0)
    tree(tmp_path, pci(ADDRESS))
    told = links.read(str(tmp_path), smi(tmp_path, status, errors))
    assert said in " ".join(told["errors"])
    assert list(told["gpus"]) == [ADDRESS]
    if "nvlink -e" in said:
        assert told["nvlinks"] == {"GPU-1": {"speeds": {"0": 26.562}, "counters": None}}
    else:
        assert told["nvlinks"] is None


def test_without_nvidia_smi(tmp_path: Path):
    told = links.read(str(tmp_path), ("/no/nvidia-smi",))
    assert told["errors"][0] == "/no/nvidia-smi nvlink -s: No such file or directory"


@pytest.mark.parametrize("document", [None, [], {}, {"gpus": {}}, "x"])
def test_what_is_no_such_document_is_refused(document: Any):
    with pytest.raises(ValueError, match="no links"):
        links.parsed(document)


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]):
    assert main(["links"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"gpus", "ports", "nvlinks", "errors"}
