"""The driver on every OS, GPU generation, source and kind of modules: it fits, or says why not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from aiprov import roles
from aiprov.errors import CatalogError, UnsupportedError
from aiprov.resources import Command, File, Package, Resource, address
from aiprov.roles import Cluster
from tests.unit.roles.test_role_cases import HOSTS, host_of, settings_of, wanted

GPUS = {
    "maxwell": "10de:17f0", "pascal": "10de:15f8", "volta": "10de:1db6", "turing": "10de:1eb8",
    "ampere": "10de:20b2", "ada": "10de:26b9", "hopper": "10de:2335", "blackwell": "10de:2901",
}  # fmt: skip
SOURCES = ("auto", "nvidia", "distribution")
MODULES = ("auto", "open", "proprietary")


def case(host: str, gpu: str, secure_boot: bool = False, **vars: Any) -> dict[str, Any]:
    return {
        "host": host,
        "gpus": {gpu: 2},
        "facts": {"architecture": "x86_64", "secure_boot": secure_boot},
        "vars": {f"nvidia_driver_{name}": value for name, value in vars.items()},
    }


def notes_of(given: dict[str, Any]) -> list[tuple[str, str]]:
    settings = settings_of("nvidia_driver", given)
    cluster = replace(Cluster(), settings=settings)
    told = roles.notes("nvidia_driver", settings["nvidia_driver"], host_of(given), cluster)
    return [(note.level, note.text) for note in told]


@pytest.mark.parametrize("host", HOSTS)
def test_every_wish_is_met_or_refused_with_a_way_out(host: str):
    met = 0
    for gpu, source, modules, secure in product(GPUS.values(), SOURCES, MODULES, (False, True)):
        try:
            found = wanted(
                "nvidia_driver", case(host, gpu, secure, source=source, kernel_modules=modules)
            )
        except UnsupportedError as error:
            assert error.message, (gpu, source, modules)
            assert error.hint, (gpu, source, modules)
            continue
        met += 1
        check(found, modules)
    assert met >= 8


def check(found: list[Resource], modules: str) -> None:
    packages = [item for item in found if isinstance(item, Package)]
    there = {item.name for item in packages if not item.absent}
    gone = {item.name for item in packages if item.absent}
    assert not there & gone
    assert len({address(item) for item in found}) == len(found)
    members = [item for item in packages if item.together is not None]
    assert members and len({(item.version, item.at_least, item.hold) for item in members}) == 1
    if modules != "auto":
        built = [name for name in there if "dkms" in name or "linux-modules" in name]
        other = "open" if modules == "proprietary" else "latest-dkms"
        assert not [name for name in built if other in name]
    assert address(found[-1]) == "Command[check the GPUs]"


@pytest.mark.parametrize("gpu", ["maxwell", "pascal", "volta"])
def test_old_gpus_stay_on_the_last_branch_that_drives_them(gpu: str):
    found = wanted("nvidia_driver", case("debian12", GPUS[gpu]))
    assert {p.version for p in found if isinstance(p, Package) and p.together} == {"580"}
    with pytest.raises(UnsupportedError, match="no longer drives"):
        wanted("nvidia_driver", case("debian12", GPUS[gpu], branch="595"))


def test_a_gpu_that_the_catalog_does_not_know_is_named():
    with pytest.raises(CatalogError, match="10de:ffff"):
        wanted("nvidia_driver", case("debian12", "10de:ffff"))


def test_the_plan_tells_why():
    told = notes_of(
        {**case("debian12", GPUS["hopper"]), "gpus": {GPUS["hopper"]: 8, "10de:22a3": 4}}
    )
    reasons = [text for level, text in told if level == "reason"]
    for beginning in ("driver 580: the long-term branch", "open kernel modules: ",
                      "from NVIDIA's repository: ", "modules for 6.1.0-42-amd64: ",
                      "fabric manager: NVSwitches"):  # fmt: skip
        assert [text for text in reasons if text.startswith(beginning)], (beginning, reasons)
    assert not [text for text in reasons if "containerd" in text]


def test_a_branch_at_its_end_is_warned_of():
    told = notes_of(case("debian12", GPUS["hopper"], branch="590"))
    assert [text for level, text in told if level == "warning" and "end of life" in text]


def test_nothing_runs_a_shell():
    for host in HOSTS:
        for item in wanted("nvidia_driver", case(host, GPUS["ampere"])):
            if isinstance(item, Command):
                assert item.argv[0] not in ("sh", "bash")
                assert all(word == word.strip() for word in item.argv)


def test_the_programs_are_started_by_the_hosts_own_python():
    (program,) = [
        item
        for item in wanted("nvidia_driver", case("rocky8", GPUS["ampere"]))
        if isinstance(item, File) and item.path.endswith("/nvidia-modules")
    ]
    assert isinstance(program.content, str)
    assert program.content.startswith("#!/usr/libexec/platform-python\n")
