# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recording is damaged how: a number is always the same case."""

from __future__ import annotations

import os
from random import Random

from .damage import (
    Case,
    Damage,
    change_files,
    change_lines,
    change_members,
    change_pixels,
    change_tree,
    cut,
    flip_bits,
    rearrange,
    whole,
    write_fields,
    write_numbers,
    write_token,
)
from .damage_hdf5 import DAMAGES as HDF5_DAMAGES
from .damage_hdf5 import change_objects
from .victims import Victim

_BINARY: tuple[Damage, ...] = (
    *(write_fields, write_fields, write_fields, write_fields, write_numbers, write_token),
    *(flip_bits, cut, rearrange, whole),
)
_TEXT: tuple[Damage, ...] = (
    *(write_token, write_token, write_token, change_lines, change_lines, cut, rearrange, whole),
    *(flip_bits,),
)
_TREES: tuple[Damage, ...] = (*_TEXT, change_tree, change_tree, change_tree, change_tree)
_ARCHIVES: tuple[Damage, ...] = (*_BINARY, *[change_members] * 8)
_KINDS: dict[str, tuple[Damage, ...]] = {
    **dict.fromkeys(("yml", "yaml", "json", "zarray", "zattrs", "zgroup"), _TREES),
    **dict.fromkeys(("toml", "xml", "emi", "hdr", "txt", "met", "csv"), _TEXT),
    "npz": _ARCHIVES,
}


def damages(name: str, content: bytes) -> tuple[Damage, ...]:
    """Return what can happen to a file of this name and content."""
    suffix = os.path.basename(name).rpartition(".")[2].lower()
    if suffix in _KINDS:
        return _KINDS[suffix]
    if b"\x89HDF\r\n" in content[:8192]:
        return HDF5_DAMAGES
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in content[:400])
    return _TEXT if content and printable >= 0.97 * min(400, len(content)) else _BINARY


def make_case(format: str, number: int, victims: list[Victim]) -> Case:
    """Make the case of a number, always the same one."""
    rng = Random(f"{format}:{number}")
    sizes = [sum(map(len, victim.files.values())) for victim in victims]
    weights = [1 / (1 + size / (256 << 10)) for size in sizes]  # large ones take longer
    (victim,) = rng.choices(victims, weights)
    case = Case(victim)
    draw = rng.random()
    if draw < 0.08 and victim.pixels:
        change_pixels(rng, case)
    elif draw < 0.08 + (0.10 if len(victim.files) > 1 else 0.02):
        change_files(rng, case, victims)
    # the plugin for zstd tells no damage, and gives what is in memory instead
    sound = "zstd" in victim.name
    while not case.words or (case.pixels is None and not sound and rng.random() < 0.2):
        names = list(case.victim.files)
        name = victim.opened if victim.opened in names and rng.random() < 0.5 else rng.choice(names)
        choices = (change_objects,) if sound else damages(name, case.victim.files[name])
        rng.choice(choices)(rng, case, name)
    return case
