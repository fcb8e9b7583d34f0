"""``--gpus``: names of GPUs and faults as devices on a simulated bus."""

from __future__ import annotations

import pytest

from aiprov.errors import LabError
from aiprov.lab.build import HostSpec
from aiprov.lab.gpus import Gpus, Xid, gpus, is_gpu, is_switch, model

MODELS = {
    "h200": "10de:2335",
    "H200": "10de:2335",
    "h100": "10de:2330",
    "h100-nvl": "10de:2321",
    "a100-80gb": "10de:20b2",
    "a100x": "10de:20b8",
    "v100": "10de:1db5",
    "l40s": "10de:26b9",
    "l40": "10de:26b5",
    "t4": "10de:1eb8",
    "b200": "10de:2901",
    "gb200": "10de:2941",
    "10de:2335": "10de:2335",
    "rtx-pro-6000-server": "10de:2bb5",
}


@pytest.mark.parametrize("name", MODELS)
def test_models_have_short_names(name: str) -> None:
    assert model(name).pci_id == MODELS[name]


REFUSED = {
    "rtx-pro-6000x2": ("names more than one GPU", "rtx-pro-6000-blackwell-server-edition (10de:"),
    "h300x8": ("no GPU is called 'h300'", "h200-sxm (10de:2335)"),
    "10de:zzzzx2": ("is not the PCI id of an NVIDIA GPU", "four hex digits"),
    "": ("no GPU is named", "h200x8"),
    "h200x8+": ("no GPU is named", "h200x8"),
    "h200x17": ("17 GPUs", "at most 16"),
    "h200x8,narrow=8": ("there are no 9 GPUs", "count from 0"),
    "h200x2,missing=3": ("missing=3", "count from 0"),
    "h200x2,xid=79@2": ("xid=79@2", "count from 0"),
    "h200x2,xid=79": ("'xid=79' is no fault", "xid=CODE@I"),
    "h200x2,burnt": ("'burnt' is no fault", "missing=N"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_sense_is_refused_with_a_way_out(text: str) -> None:
    message, hint = REFUSED[text]
    with pytest.raises(LabError) as caught:
        gpus(text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def counted(made: Gpus) -> tuple[int, int]:
    """GPUs and switches."""
    there = made.devices
    return sum(map(is_gpu, there)), sum(map(is_switch, there))


BOARDS = {
    "h200x8": (8, 4),
    "h200x4": (4, 0),
    "h100x8+l40sx2": (10, 4),
    "h100x4+l40sx2": (6, 0),
    "a100x8": (8, 6),
    "h100-nvlx8": (8, 0),
    "b200x8": (8, 0),
    "v100x8": (8, 0),
    "10de:1db8x16": (16, 12),
    "t4": (1, 0),
    "h200x8,missing=1": (7, 4),
    "h200x8,missing=8": (0, 4),
}


@pytest.mark.parametrize("text", BOARDS)
def test_boards_bring_their_switches(text: str) -> None:
    made = gpus(text)
    assert counted(made) == BOARDS[text]
    addresses = [device.address for device in made.devices]
    assert len(set(addresses)) == len(addresses)
    assert {device.vendor for device in made.devices} == {0x10DE}


def test_both_sockets_have_gpus() -> None:
    there = [device for device in gpus("h200x8").devices if is_gpu(device)]
    assert [device.numa_node for device in there] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_faults() -> None:
    made = gpus("h200x8,narrow=2,xid=79@0,xid=48@7,nouveau")
    there = [device for device in made.devices if is_gpu(device)]
    widths = [device.current_link_width for device in there]
    assert widths == [16, 16, 4, 16, 16, 16, 16, 16]
    assert {device.max_link_width for device in there} == {16}
    assert list(made.xids) == [Xid(code=79, gpu=0), Xid(code=48, gpu=7)]
    assert made.nouveau


HOSTS = {
    "web1": ("web1", "bookworm", (0, 0)),
    "web1:trixie": ("web1", "trixie", (0, 0)),
    "gpu1:trixie:h200x8": ("gpu1", "trixie", (8, 4)),
    "gpu1::l40sx2": ("gpu1", "bookworm", (2, 0)),
    "gpu1:trixie:10de:2335x2": ("gpu1", "trixie", (2, 0)),
}


@pytest.mark.parametrize("text", HOSTS)
def test_hosts_are_named_with_their_suite_and_gpus(text: str) -> None:
    spec = HostSpec.named(text)
    assert (spec.name, spec.suite, counted(spec.has)) == HOSTS[text]


def test_what_a_host_leaves_open_is_that_of_all() -> None:
    spec = HostSpec.named("gpu1", suite="trixie", hardware="t4x2")
    assert (spec.suite, counted(spec.has)) == ("trixie", (2, 0))
    assert counted(HostSpec.named("gpu1::l4", hardware="t4x2").has) == (1, 0)


def test_adapters_are_beside_the_gpus() -> None:
    devices = gpus("h200x2,nics=2").devices
    adapters = [device for device in devices if device.vendor == 0x15B3]
    assert len(adapters) == 2
    assert len({device.address for device in devices}) == len(devices)
