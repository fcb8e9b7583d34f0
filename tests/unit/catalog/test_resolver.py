"""The resolver: cases as data (``tests/resolve``), and what holds for every question there is."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov import FORMAT_VERSION, catalog
from aiprov.catalog import cuda, drivers, gpus, kubernetes, models, nvidia_repositories, toolkit
from aiprov.catalog.resolution import Asked, Refusal, Resolution
from aiprov.catalog.resolver import resolve
from aiprov.catalog.resolver.answer import answer
from aiprov.catalog.resolver.question import newest_row
from aiprov.cli.resolve import resolve as command
from aiprov.errors import AiprovError, CatalogError, UsageError

CASES = Path(__file__).parents[2] / "resolve"
SYSTEMS = catalog.operating_systems()
ONE_OF_EACH = {
    "maxwell": "10de:17fd",
    "pascal": "10de:15f8",
    "volta": "10de:1db6",
    "turing": "10de:1eb8",
    "ampere": "10de:20b2",
    "ada": "10de:26b9",
    "hopper": "10de:2335",
    "grace hopper": "10de:2342",
    "blackwell": "10de:2901",
    "grace blackwell": "10de:2941",
}
KERNELS = {
    "ubuntu 22.04": "5.15.0-100-generic",
    "ubuntu 24.04": "6.8.0-60-generic",
    "ubuntu 26.04": "7.0.0-14-generic",
    "debian 12": "6.1.0-40-amd64",
    "debian 13": "6.12.48+deb13-amd64",
    "8": "4.18.0-553.el8_10.x86_64",
    "9": "5.14.0-570.12.1.el9_6.x86_64",
    "10": "6.12.0-55.el10.x86_64",
}


def cases(name: str) -> list[Any]:
    return [
        pytest.param(case, id=case["name"])
        for case in yaml.safe_load((CASES / f"{name}.yml").read_text())
    ]


def asked(ask: dict[str, Any]) -> Asked:
    os_id, _, version = ask["os"].partition("-")
    lists = {key: tuple(value) for key, value in ask.items() if isinstance(value, list)}
    return Asked(**{**ask, **lists, "os": catalog.operating_system(os_id, version)})


@pytest.mark.parametrize("case", cases("answers"))
def test_an_answer(case: dict[str, Any]):
    found = resolve(asked(case["ask"]))
    assert found.ok, found
    driver = found.driver
    if "driver" in case and case["driver"] is None:
        assert driver is None
    for name, value in (case.get("driver") or {}).items():
        assert getattr(driver, name) == (tuple(value) if isinstance(value, list) else value), name
    if "only" in case:
        assert list(driver.packages) == case["only"]
    assert set(case.get("packages", ())) <= set(driver.packages if driver else ())
    assert not set(case.get("without", ())) & set(driver.packages if driver else ())
    assert set(case.get("replaced", ())) <= set(driver.replaced if driver else ())
    for name in ("fabric_manager", "nvlink5", "imex", "coherent"):
        assert getattr(found, name) == case.get(name, getattr(found, name)), name
    if "cuda" in case:
        assert [[row.version, *row.packages] for row in found.cuda] == case["cuda"]
    if "containerd" in case:
        assert dataclasses.asdict(found.containerd) == case["containerd"]
    says_each(case.get("warns", ()), found.warnings)
    says_each(case.get("reasons", ()), found.reasons)
    if "warns" not in case:
        assert found.warnings == ()


@pytest.mark.parametrize("case", cases("refusals"))
def test_a_refusal(case: dict[str, Any]):
    found = resolve(asked(case["ask"]))
    assert isinstance(found, Refusal), found
    says_each(case["conflicts"], [item.what for item in found.conflicts])
    says_each(case.get("hints", ()), [item.hint for item in found.conflicts])
    for word in case.get("not_hinted", ()):
        assert not any(word in item.hint for item in found.conflicts), word
    says_each(case.get("nearest", ()), found.nearest)


def says_each(words: Any, texts: Any) -> None:
    for word in words:
        assert any(word in text for text in texts), f"{word!r} is in none of {texts}"


# ---------------------------------------------------------------- what holds for every question


def kernel_of(os: catalog.OperatingSystem) -> str:
    return KERNELS[os.version if os.family == "redhat" else f"{os.id} {os.version}"]


@pytest.mark.parametrize("generation", ONE_OF_EACH)
@pytest.mark.parametrize("os", SYSTEMS, ids=lambda os: f"{os.id}-{os.version}")
def test_every_host_gets_a_set_that_fits_or_a_reason(os, generation: str):
    found_any = False
    for source, modules, (secure, enrolled), branch in itertools.product(
        (None, "nvidia", "distribution"),
        (None, "open", "proprietary"),
        ((False, False), (True, False), (True, True)),
        (None, *(row.name for row in drivers.branches())),
    ):
        question = Asked(
            os=os, gpus=(ONE_OF_EACH[generation],), kernels=(kernel_of(os),), source=source,
            modules=modules, secure_boot=secure, mok_enrolled=enrolled, driver=branch,
        )  # fmt: skip
        found = answer(question)  # resolve() without what works nearby
        if found.ok:
            found_any = True
            check(question, found)
        else:
            assert found.conflicts, question
            assert all(item.what and item.hint for item in found.conflicts)
    assert found_any


def check(question: Asked, found: Resolution) -> None:
    """The rules of NVIDIA's pages, said once more and not by way of the catalog's rows."""
    driver, model = found.driver, gpus.gpu(question.gpus[0])
    number = int(driver.branch)
    for wish, got in (("driver", driver.branch), ("modules", driver.kernel_modules),
                      ("source", driver.source)):  # fmt: skip
        assert getattr(question, wish) in (None, got)
    if model.architecture in ("maxwell", "pascal", "volta"):
        assert driver.kernel_modules == "proprietary"
        assert number <= 580
    if model.grace or model.architecture in ("blackwell", "rubin") or number >= 620:
        assert driver.kernel_modules == "open"
    if model.architecture == "blackwell":
        assert number >= 570
    if question.secure_boot and not question.mok_enrolled:
        assert driver.build == "signed"
    if question.kernels[0].startswith("7."):
        assert number != 590
    assert (driver.build == "dkms") == bool(driver.headers)
    assert (driver.stream is not None) == (question.os.version in ("8", "9"))
    assert not set(driver.replaced) & set(driver.packages)
    assert len(set(driver.packages)) == len(driver.packages)
    names = " ".join((*driver.packages, *driver.replaced))
    assert "{" not in names
    fabric = [name for name in driver.locked if "fabric" in name]
    assert len(fabric) == int(found.fabric_manager)
    assert found.reasons


@pytest.mark.parametrize("os", SYSTEMS, ids=lambda os: f"{os.id}-{os.version}")
def test_nothing_defaults_to_an_end_of_life_or_to_the_unknown(os):
    today = newest_row()
    for model in gpus.gpus():
        for secure in (False, True):
            found = resolve(Asked(os=os, gpus=(model.pci_id,), secure_boot=secure))
            if not found.ok:
                continue
            row = drivers.branch(found.driver.branch)
            assert row.eol is not None or model.architecture == "rubin", model.name
            assert row.eol is None or row.eol >= today, model.name
            assert catalog.containerd_line(found.containerd.version).eol >= today


@pytest.mark.parametrize("os", SYSTEMS, ids=lambda os: f"{os.id}-{os.version}")
def test_every_gpu_of_the_catalog_has_a_driver_on_every_os(os):
    for model in gpus.gpus():
        found = resolve(Asked(os=os, gpus=(model.pci_id,)))
        assert found.ok, (model.name, found)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(SYSTEMS),
    st.lists(st.sampled_from([row.pci_id for row in gpus.gpus()]), max_size=3),
    st.lists(st.sampled_from([row.version for row in cuda.toolkits()]), max_size=2),
    st.sampled_from([None, *(row.version for row in kubernetes.lines())]),
    st.sampled_from([None, *(row.version for row in catalog.containerd_lines())]),
    st.sampled_from([None, *(row.name for row in drivers.branches())]),
)
def test_any_wishes_have_an_answer(os, ids, toolkits, version, line, branch):
    question = Asked(os=os, gpus=tuple(ids), cuda=tuple(toolkits), kubernetes=version,
                     containerd=line, driver=branch)  # fmt: skip
    found = resolve(question)
    assert found == resolve(question)
    if not found.ok:
        assert found.conflicts
        assert len(found.nearest) <= 3
        return
    assert {row.version for row in found.cuda} == set(toolkits)
    if version is not None:
        assert kubernetes.line(version).accepts(found.containerd.version)
    old = {gpus.gpu(item).architecture for item in ids} & {"maxwell", "pascal", "volta"}
    assert not (old and any(item.startswith("13.") for item in toolkits))


# ---------------------------------------------------------------- what is asked wrongly


@pytest.mark.parametrize(
    ("wish", "says", "hint"),
    [
        ({"driver": "57o"}, "driver 57o", "570"),
        ({"driver": "580.x"}, "driver 580.x", "580"),
        ({"cuda": ("13.9",)}, "CUDA 13.9", "13.4"),
        ({"kubernetes": "1.63"}, "Kubernetes 1.63", "1.36"),
        ({"containerd": "3.1"}, "containerd 3.1", "2.3"),
        ({"containerd": "2.x"}, "containerd '2.x'", "2.3"),
        ({"toolkit": "new"}, "toolkit 'new'", "numbers"),
        ({"gpus": ("10de:ffff",)}, "10de:ffff", "nearest"),
        ({"kernels": ("generic",)}, "'generic' is not a kernel's name", "uname"),
    ],
)
def test_what_the_catalog_does_not_know_is_named(wish: dict[str, Any], says: str, hint: str):
    with pytest.raises(CatalogError) as raised:
        resolve(Asked(**{"os": SYSTEMS[0], "gpus": ("10de:2335",), **wish}))
    assert says in raised.value.message
    assert hint in raised.value.hint


# ---------------------------------------------------------------- GPUs by name


@pytest.mark.parametrize(
    ("word", "pci_id"),
    [("10DE:2335", "10de:2335"), ("b200", "10de:2901"), ("H200 SXM", "10de:2335"),
     ("A100 sxm4 80GB", "10de:20b2"), ("T4", "10de:1eb8")],
)  # fmt: skip
def test_a_gpu_is_found_by_id_or_model(word: str, pci_id: str):
    assert models.pci_id(word) == pci_id


@pytest.mark.parametrize(
    ("word", "says", "hint"),
    [("A100 80GB", "of 2 GPUs", "10de:20b5"), ("H20O", "no GPU", "did you mean"),
     ("RTX 4090", "no GPU", "PCI id"), ("", "no GPU", "lspci")],
)  # fmt: skip
def test_a_gpu_that_is_not_found_has_neighbours(word: str, says: str, hint: str):
    with pytest.raises(CatalogError) as raised:
        models.pci_id(word)
    assert says in raised.value.message
    assert hint in raised.value.hint


# ---------------------------------------------------------------- the command


def run(*argv: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, list(argv), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def test_json_of_a_set():
    code, text = run("--os", "ubuntu-24.04", "--gpu", "10de:2335", "--kernel", "6.8.0-60-generic",
                     "--cuda", "13.0", "--kubernetes", "1.36", "--json")  # fmt: skip
    document = json.loads(text)
    assert code == 0
    assert list(document) == sorted(document)
    assert document["format_version"] == FORMAT_VERSION
    assert document["ok"] is True
    driver = document["driver"]
    assert (driver["branch"], driver["kernel_modules"], driver["source"]) == (
        "580", "open", "nvidia",
    )  # fmt: skip
    assert "nvidia-dkms-580-open" in driver["packages"]
    assert [item["version"] for item in document["cuda"]] == ["13.0"]
    assert document["fabric_manager"] is True
    assert document["containerd"] == {"version": "2.3", "config_schema": 4}
    assert document["warnings"] == []
    assert document["reasons"]


def test_json_of_a_refusal():
    code, text = run("--os", "rocky-9", "--gpu", "10de:1db6", "--cuda", "13.0", "--json")
    document = json.loads(text)
    assert code == 1
    assert document["ok"] is False
    assert "Volta" in document["conflicts"][0]["what"]
    assert document["nearest"]


def test_text_of_a_set_and_of_a_refusal():
    code, text = run("--os", "rocky-9.6", "--gpu", "B200", "--kubernetes", "1.36", "--cuda", "13.0")
    assert code == 0
    assert "driver      580" in text
    assert "nvidia-driver:580-open" in text
    assert "Kubernetes  1.36" in text
    code, text = run("--os", "debian-13", "--gpu", "B200", "--kernel-modules", "proprietary")
    assert code == 1
    assert "conflict: the proprietary kernel modules do not drive B200" in text
    assert "what works nearby:" in text


@pytest.mark.parametrize(
    ("argv", "says", "hint"),
    [
        (["--os", "ubuntu-2404"], "'ubuntu-2404'", "did you mean ubuntu-24.04?"),
        (["--os", "ubuntu-24.10"], "'ubuntu-24.10'", "supported are"),
        (["--os", "debian-13", "--gpu", "H300"], "'H300'", "did you mean"),
    ],
)
def test_a_misspelt_word_has_a_neighbour(argv: list[str], says: str, hint: str):
    with pytest.raises(AiprovError) as raised:
        run(*argv)
    assert isinstance(raised.value, UsageError | CatalogError)
    assert says in raised.value.message
    assert hint in raised.value.hint


# ---------------------------------------------------------------- the data


def test_branches_are_in_order_and_of_their_own_versions():
    rows = drivers.branches()
    assert [row.number for row in rows] == sorted(row.number for row in rows)
    for row in rows:
        assert row.latest is None or row.latest.startswith(f"{row.name}.")
        assert (row.kind == "unknown") == (row.eol is None)


def test_every_architecture_of_a_gpu_has_its_row():
    for architecture in {row.architecture for row in gpus.gpus()} | {"rubin"}:
        assert drivers.support(architecture).modules


def test_no_toolkit_brings_a_driver():
    for row in cuda.toolkits():
        assert all(name.startswith("cuda-toolkit-") for name in row.packages)


@pytest.mark.parametrize("os", SYSTEMS, ids=lambda os: f"{os.id}-{os.version}")
def test_every_os_has_nvidias_repositories(os):
    repository = nvidia_repositories.cuda_repository(os)
    key = nvidia_repositories.signing_key(repository.key)
    assert key.fingerprint or key.sha256
    assert repository.path("aarch64") == f"{repository.name}/sbsa"
    assert (repository.keyring is not None) == (os.family == "debian")
    checksum = repository.keyring_checksum("x86_64")
    assert (checksum is not None and len(checksum) == 64) == (os.family == "debian")
    assert nvidia_repositories.signing_key(nvidia_repositories.toolkit_repository(os).key).text


@pytest.mark.parametrize("key", nvidia_repositories.signing_keys(), ids=lambda key: key.name)
def test_a_key_of_nvidia_is_the_pinned_one(key):
    assert key.fingerprint is None or len(key.fingerprint) == 40
    if key.text is not None:
        assert hashlib.sha256(key.text.encode()).hexdigest() == key.sha256


def test_an_architecture_without_packages_is_refused():
    with pytest.raises(AiprovError, match="no packages for ppc64le"):
        nvidia_repositories.nvidia_architecture("ppc64le")


def test_the_toolkit_has_four_packages_of_one_version():
    assert len(toolkit.newest().packages) == 4
    assert toolkit.faults("1.20.0-1") == ()
