"""The GPUs of the catalog: rows agree with themselves, ids are found, MIG layouts are judged."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiprov.catalog import gpus as catalog
from aiprov.errors import CatalogError

CAPABILITIES = {
    "maxwell": {"5.0", "5.2"},
    "pascal": {"6.0", "6.1"},
    "volta": {"7.0"},
    "turing": {"7.5"},
    "ampere": {"8.0", "8.6"},
    "ada": {"8.9"},
    "hopper": {"9.0"},
    "blackwell": {"10.0", "10.3", "12.0", "12.1"},
}
LETTERS = {
    "GM": "maxwell",
    "GP": "pascal",
    "GV": "volta",
    "TU": "turing",
    "GA": "ampere",
    "AD": "ada",
    "GH": "hopper",
    "GB": "blackwell",
}

# id: name, compute capability, memory in GiB, segment, fabric, MIG, Grace
KNOWN = {
    "13bd": ("Tesla M10", "5.0", 8, "datacenter", "none", "", False),
    "13f2": ("Tesla M60", "5.2", 8, "datacenter", "none", "", False),
    "17fd": ("Tesla M40", "5.2", 12, "datacenter", "none", "", False),
    "15f8": ("Tesla P100 PCIe 16GB", "6.0", 16, "datacenter", "none", "", False),
    "1b38": ("Tesla P40", "6.1", 24, "datacenter", "none", "", False),
    "1bb3": ("Tesla P4", "6.1", 8, "datacenter", "none", "", False),
    "1db4": ("Tesla V100 PCIe 16GB", "7.0", 16, "datacenter", "none", "", False),
    "1db5": ("Tesla V100 SXM2 32GB", "7.0", 32, "datacenter", "none", "", False),
    "1db8": ("Tesla V100 SXM3 32GB", "7.0", 32, "datacenter", "nvswitch", "", False),
    "1eb8": ("Tesla T4", "7.5", 16, "datacenter", "none", "", False),
    "1e30": ("Quadro RTX 6000 / 8000", "7.5", 24, "workstation", "none", "", False),
    "20b0": ("A100 SXM4 40GB", "8.0", 40, "datacenter", "nvswitch", "a100-40", False),
    "20b5": ("A100 PCIe 80GB", "8.0", 80, "datacenter", "none", "a100-80", False),
    "20b7": ("A30", "8.0", 24, "datacenter", "none", "a30", False),
    "2230": ("RTX A6000", "8.6", 48, "workstation", "none", "", False),
    "2236": ("A10", "8.6", 24, "datacenter", "none", "", False),
    "25b6": ("A2 / A16", "8.6", 16, "datacenter", "none", "", False),
    "26b1": ("RTX 6000 Ada Generation", "8.9", 48, "workstation", "none", "", False),
    "26b9": ("L40S", "8.9", 48, "datacenter", "none", "", False),
    "27b8": ("L4", "8.9", 24, "datacenter", "none", "", False),
    "2321": ("H100 NVL", "9.0", 94, "datacenter", "none", "h100-94", False),
    "2330": ("H100 SXM5 80GB", "9.0", 80, "datacenter", "nvswitch", "h100-80", False),
    "2331": ("H100 PCIe", "9.0", 80, "datacenter", "none", "h100-80", False),
    "2329": ("H20", "9.0", 96, "datacenter", "nvswitch", "h100-96", False),
    "2335": ("H200 SXM", "9.0", 141, "datacenter", "nvswitch", "h200-141", False),
    "233b": ("H200 NVL", "9.0", 141, "datacenter", "none", "h200-141", False),
    "2342": ("GH200 96GB", "9.0", 96, "datacenter", "none", "h100-96", True),
    "2901": ("B200", "10.0", 180, "datacenter", "nvlink5", "b200", False),
    "2941": ("GB200", "10.0", 186, "datacenter", "nvlink5", "gb200", True),
    "3182": ("B300", "10.3", 269, "datacenter", "nvlink5", "b300", False),
    "31c2": ("GB300", "10.3", 278, "datacenter", "nvlink5", "gb300", True),
    "2bb5": (
        "RTX PRO 6000 Blackwell Server Edition",
        *("12.0", 96, "datacenter", "none", "rtx-pro-6000", False),
    ),
}

# GPUs without a row: id: chip, architecture, compute capability, segment
BY_CHIP = {
    "1380": ("GM107", "maxwell", "5.0", "consumer"),
    "1b06": ("GP102", "pascal", "6.1", "consumer"),
    "1d81": ("GV100", "volta", "7.0", "datacenter"),
    "2182": ("TU116", "turing", "7.5", "consumer"),
    "20c2": ("GA100", "ampere", "8.0", "datacenter"),
    "2204": ("GA102", "ampere", "8.6", "consumer"),
    "2684": ("AD102", "ada", "8.9", "consumer"),
    "2b85": ("GB202", "blackwell", "12.0", "consumer"),
}

FITS = [
    ("20b0", {}),
    ("20b0", {"7g.40gb": 1}),
    ("20b0", {"7g.40gb": 0, "3g.20gb": 2}),
    ("20b0", {"3g.20gb": 1, "4g.20gb": 1}),
    ("20b0", {"3g.20gb": 1, "2g.10gb": 2}),
    ("20b0", {"4g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1}),
    ("20b0", {"1g.5gb": 6, "1g.5gb+me": 1}),
    ("20b0", {"1g.5gb": 4, "3g.20gb": 1}),
    ("20b0", {"1g.10gb": 4}),
    ("20b0", {"1g.10gb": 1, "2g.10gb": 3}),
    ("20b2", {"1g.10gb": 7}),
    ("20b7", {"2g.12gb+me": 1, "1g.6gb": 2}),
    ("2335", {"1g.18gb": 2, "2g.35gb": 1, "3g.71gb": 1}),
    ("2901", {"1g.23gb": 2, "2g.45gb": 1, "3g.90gb": 1}),
    ("3182", {"1g.34gb": 2, "2g.67gb": 1, "3g.135gb": 1}),
    ("31c2", {"1g.35gb": 2, "2g.70gb": 1, "3g.139gb": 1}),
    ("2bb5", {"2g.48gb": 1, "1g.24gb": 2}),
    ("2bb5", {"1g.24gb+me.all": 1, "1g.24gb-me": 3}),
    ("2bb1", {"1g.24gb+gfx": 3, "1g.24gb+me": 1}),
]

A100 = (
    "its profiles, and how many of each fit alone: 1g.5gb (7), 1g.5gb+me (1), 1g.10gb (4), "
    "2g.10gb (3), 3g.20gb (2), 4g.20gb (1), 7g.40gb (1)"
)
NO_PLACE = "there is no place in memory for all of them beside each other"
REFUSED = [
    ("20b0", {"4g.20gb": 2}, "2 x 4g.20gb does not fit on A100 SXM4 40GB: at most 1 of 4g.20gb "),
    ("20b0", {"1g.5gb+me": 2}, "at most 1 of 1g.5gb+me can be on one GPU"),
    (
        "20b0",
        {"4g.20gb": 1, "2g.10gb": 2},
        "1 x 4g.20gb + 2 x 2g.10gb does not fit on A100 SXM4 40GB: it takes 8 compute slices of 7",
    ),
    ("20b0", {"7g.40gb": 1, "1g.5gb": 1}, "it takes 8 compute slices of 7"),
    ("20b0", {"3g.20gb": 2, "1g.5gb": 1}, NO_PLACE),
    ("20b0", {"2g.10gb": 3, "1g.10gb": 1, "1g.5gb": 1}, "it takes 8 compute slices of 7"),
    ("20b0", {"1g.10gb": 3, "2g.10gb": 1, "1g.5gb": 1}, NO_PLACE),
    ("20b0", {"1g.12gb": 1}, "A100 SXM4 40GB has no MIG profile '1g.12gb'"),
    ("20b0", {"1g.5gb": -1}, "-1 x 1g.5gb is no number of MIG instances"),
    ("20b7", {"2g.12gb": 2, "1g.6gb": 1}, "it takes 5 compute slices of 4"),
    ("20b7", {"2g.12gb+me": 1, "1g.6gb+me": 1}, "it takes 2 optical flow accelerators of 1"),
    ("2bb5", {"1g.24gb+me.all": 1, "1g.24gb": 1}, "it takes 5 video engines of 4"),
    ("2bb5", {"2g.48gb": 2, "1g.24gb-me": 1}, "it takes 5 compute slices of 4"),
    ("1eb8", {"1g.5gb": 1}, "the catalog knows no MIG profiles of Tesla T4"),
]


def pci(device: str) -> str:
    return f"{catalog.NVIDIA}:{device}"


def profiles() -> list[catalog.MigProfile]:
    """The profiles of every GPU with MIG, each set of them once."""
    with_mig = {row.mig: row.pci_id for row in catalog.gpus() if row.mig}
    return [profile for pci_id in with_mig.values() for profile in catalog.mig_profiles(pci_id)]


def fits(pci_id: str, layout: dict[str, int]) -> bool:
    try:
        catalog.check_layout(pci_id, layout)
    except CatalogError:
        return False
    return True


def test_every_row_has_a_source_and_a_date():
    rows = [*catalog.gpus(), *catalog.chips(), *catalog.switches(), *profiles()]
    assert all(row.source and isinstance(row.date, date) for row in rows)


def test_ids_are_well_formed_and_unique():
    ids = [row.pci_id for row in catalog.gpus()]
    assert [one for one in ids if not re.fullmatch("10de:[0-9a-f]{4}", one)] == []
    assert [one for one, count in Counter(ids).items() if count > 1] == []


def test_ranges_do_not_overlap():
    rows = [*catalog.chips(), *catalog.switches()]
    ranges = sorted((int(a, 16), int(b, 16), row.name) for row in rows for a, b in row.ids)
    assert [one for one in ranges if one[0] > one[1]] == []
    assert [(one, other) for one, other in pairwise(ranges) if one[1] >= other[0]] == []


def test_a_gpus_chip_covers_its_id():
    chips = {chip.name: chip for chip in catalog.chips()}
    astray = [
        row.name
        for row in catalog.gpus()
        if not any(
            int(first, 16) <= int(row.pci_id[5:], 16) <= int(last, 16)
            for first, last in chips[row.chip].ids
        )
    ]
    assert astray == []


def test_architecture_chip_and_compute_capability_agree():
    for row in [*catalog.gpus(), *catalog.chips()]:
        chip = row.chip if isinstance(row, catalog.Gpu) else row.name
        assert LETTERS[chip[:2]] == row.architecture, row.name
        assert row.compute_capability in CAPABILITIES[row.architecture], row.name


def test_memory_in_a_name_is_the_memory():
    rows = [(row, re.search(r"(\d+)GB", row.name)) for row in catalog.gpus()]
    named = [(row.name, row.memory_gib, int(found[1])) for row, found in rows if found]
    assert len(named) > 20
    assert [one for one in named if one[1] != one[2]] == []


def test_every_mig_layout_table_belongs_to_a_gpu_of_that_memory():
    for row in catalog.gpus():
        whole = max(catalog.mig_profiles(row.pci_id), key=lambda one: one.slices, default=None)
        assert bool(row.mig) == bool(whole)
        if whole:
            assert whole.name.startswith(f"{whole.slices}g.{row.memory_gib}gb"), row.name


@pytest.mark.parametrize("device", KNOWN)
def test_a_gpu_is_known(device: str):
    row = catalog.gpu(pci(device))
    facts = (row.name, row.compute_capability, row.memory_gib)
    assert (*facts, row.segment, row.fabric, row.mig, row.grace) == KNOWN[device]


@pytest.mark.parametrize("device", BY_CHIP)
def test_a_gpu_without_a_row_is_known_by_its_chip(device: str):
    row = catalog.gpu(pci(device).upper())
    facts = (row.chip, row.architecture, row.compute_capability, row.segment)
    assert facts == BY_CHIP[device]
    assert (row.pci_id, row.name) == (pci(device), f"{row.chip} GPU")
    assert (row.memory_gib, row.fabric, row.mig, row.grace) == (0, "none", "", False)


@pytest.mark.parametrize(
    ("pci_id", "message", "hint"),
    [
        ("10de:fff0", "10de:fff0 is of no GPU", r"31c2 \(GB300\); this catalog may be older"),
        ("10de:102d", "10de:102d is of no GPU", "older than Maxwell"),
        ("10de:22a3", "10de:22a3 is of no GPU", "the nearest id it knows is 10de:2"),
        ("1002:744c", "'1002:744c' is not the PCI id of an NVIDIA GPU", "as in 10de:2335"),
        ("10de:h200", "'10de:h200' is not the PCI id of an NVIDIA GPU", "four hex digits"),
        ("h200", "'h200' is not the PCI id of an NVIDIA GPU", "four hex digits"),
    ],
)
def test_an_unknown_id_is_refused(pci_id: str, message: str, hint: str):
    with pytest.raises(CatalogError, match=message) as error:
        catalog.gpu(pci_id)
    assert re.search(hint, error.value.hint or "")


@pytest.mark.parametrize(
    ("function", "gpu", "switch"),
    [
        (("10de", "2335", "030200"), True, False),
        (("10de", "2684", "030000"), True, False),
        (("10de", "22ba", "040300"), False, False),
        (("10de", "1ac2", "068000"), False, True),
        (("10de", "1af1", "068000"), False, True),
        (("10de", "22A3", "068000"), False, True),
        (("10de", "22a3", "060400"), False, False),
        (("10de", "0752", "068000"), False, False),
        (("8086", "22a3", "068000"), False, False),
        (("1002", "744c", "030000"), False, False),
    ],
)
def test_gpus_and_switches_are_told_apart(function: tuple[str, str, str], gpu: bool, switch: bool):
    vendor, device, class_code = function
    assert catalog.is_gpu(vendor, class_code) == gpu
    assert catalog.is_switch(vendor, device, class_code) == switch


def test_profiles_are_in_order_and_their_starts_within_memory():
    for mig in {profile.mig for profile in profiles()}:
        rows = [profile for profile in profiles() if profile.mig == mig]
        assert [row.slices for row in rows] == sorted(row.slices for row in rows)
        assert len({row.name for row in rows}) == len({row.profile_id for row in rows}) == len(rows)
        whole = rows[-1].memory_slices
        assert all(max(row.starts) + row.memory_slices <= whole for row in rows)


def test_as_many_of_a_profile_fit_alone_as_its_row_says():
    for row in catalog.gpus():
        for profile in catalog.mig_profiles(row.pci_id):
            assert fits(row.pci_id, {profile.name: profile.most}), (row.name, profile.name)
            assert not fits(row.pci_id, {profile.name: profile.most + 1})


@pytest.mark.parametrize(("device", "layout"), FITS)
def test_a_layout_fits(device: str, layout: dict[str, int]):
    catalog.check_layout(pci(device), layout)


@pytest.mark.parametrize(("device", "layout", "message"), REFUSED)
def test_a_layout_is_refused(device: str, layout: dict[str, int], message: str):
    with pytest.raises(CatalogError, match=re.escape(message)) as error:
        catalog.check_layout(pci(device), layout)
    if device == "20b0":
        assert error.value.hint == A100
    assert error.value.hint


def test_a_gpu_without_mig_has_no_profiles():
    assert catalog.mig_profiles(pci("1eb8")) == ()
    assert catalog.mig_profiles(pci("2684")) == ()


@given(data=st.data())
def test_what_is_left_of_a_layout_that_fits_fits_too(data: st.DataObject):
    row = data.draw(st.sampled_from([row for row in catalog.gpus() if row.mig]))
    names = [profile.name for profile in catalog.mig_profiles(row.pci_id)]
    layout = Counter(data.draw(st.lists(st.sampled_from(names), max_size=7)))
    assume(fits(row.pci_id, layout))
    less = {name: data.draw(st.integers(0, count)) for name, count in layout.items()}
    catalog.check_layout(row.pci_id, less)
