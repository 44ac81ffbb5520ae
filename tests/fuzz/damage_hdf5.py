# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to HDF5 files: objects of other kinds, shapes and types, links that lead nowhere."""

from __future__ import annotations

from io import BytesIO
from math import prod
from random import Random
from typing import Any

import h5py
import numpy as np

from .damage import (
    Case,
    Damage,
    cut,
    flip_bits,
    odd_number,
    rearrange,
    write_numbers,
    write_token,
)

_ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 2**31, 2**63 - 1, np.uint64(2**64 - 1), -(2**63), 0.5, np.nan, np.inf),
    *(-np.inf, 1e300, True, "", "x", "1", "nan", b"\xff\xfe", b"", "A" * 60_000, "ß²٣", "/", "."),
    *(np.zeros(0), np.zeros((2, 2)), np.arange(3), np.array([b"a", b"\xff"]), np.float16(1), 1j),
    *(np.array([np.nan, np.inf]), np.array([-1, 2**62]), h5py.Empty("f8"), h5py.Empty("S4")),
    *(np.void(b"\0\1"), np.zeros(1, [("a", "i4"), ("b", "f4")]), np.arange(12, dtype=">u2")),
    *(np.array([1, 2], object).astype("S3"), np.array([[1.5]]), np.int8(-128), "2020-13-45T99"),
)
_DTYPES = ("u1", "i1", "<u2", ">u2", "<i4", "<u8", ">i8", "f2", "<f4", ">f8", "c8", "?", "S3", "V5")

_DO_NOT_FIT = (
    *(OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError),
)


def _objects(file: h5py.File) -> list[str]:
    """List the objects of a file, links that lead nowhere too."""
    names: list[str] = []
    file.visit_links(names.append)
    return names


def _shape(rng: Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return another shape."""
    sizes = list(shape) or [1]
    i = rng.randrange(len(sizes))
    match rng.randrange(8):
        case 0:
            sizes[i] = 0
        case 1:
            sizes[i] += 1
        case 2:
            sizes[i] = max(0, sizes[i] - 1)
        case 3:
            sizes.reverse()
        case 4:
            sizes.insert(i, rng.choice((1, 2)))
        case 5:
            del sizes[i]
        case 6:
            sizes = [1] * rng.choice((1, 2, 5, 9, 32))
        case 7:
            sizes[i] = rng.choice((2**20, 2**31, 2**40, 2**62))
    return tuple(sizes)


def _replace(file: h5py.File, rng: Random, name: str) -> str:
    """Put something else where an object is."""
    old = file.get(name)
    shape = old.shape if isinstance(old, h5py.Dataset) and old.shape is not None else (3, 4)
    dtype = old.dtype if isinstance(old, h5py.Dataset) else np.dtype("u2")
    values = None
    if isinstance(old, h5py.Dataset) and old.size and old.size < 10**5:
        try:
            values = old[()]
        except (OSError, RuntimeError, ValueError, TypeError):
            values = None
    attributes = {}
    if old is not None:
        for key in list(old.attrs)[:20]:
            attributes[key] = old.attrs[key]
    del file[name]
    kind = rng.choice(
        ("value", "value", "shape", "shape", "dtype", "dtype", "group", "soft", "self", "parent",
         "missing file", "own file", "strings", "compound", "external", "virtual", "references",
         "layout", "enum", "type", "lines")
    )  # fmt: skip
    match kind:
        case "value":
            file[name] = rng.choice(_ODD)
        case "shape":
            new = _shape(rng, shape)
            large = np.prod([float(n) for n in new]) > 10**5
            unlimited = rng.random() < 0.3
            more: dict[str, Any] = {}
            if large or unlimited:
                more["chunks"] = tuple(max(1, min(n, 8)) for n in new)
            if unlimited and new:
                more["maxshape"] = (None,) * len(new)
            if not new:
                more = {}
            file.create_dataset(name, new, dtype, **more)
            kind += f" {new}"
        case "dtype":
            other = rng.choice(_DTYPES)
            if values is not None and np.dtype(other).kind in "uif?c" and dtype.kind in "uif?c":
                with np.errstate(all="ignore"):
                    values = np.asarray(values)
                    values = values.real.astype(other) if other != "c8" else values.astype(other)
                file.create_dataset(name, data=values)
            else:
                file.create_dataset(name, shape, other)
            kind += f" {other}"
        case "group":
            file.create_group(name)
        case "soft":
            file[name] = h5py.SoftLink(rng.choice(("/nothing", "nothing", "/", ".")))
        case "self":
            file[name] = h5py.SoftLink("/" + name)
        case "parent":
            file[name] = file[name.rpartition("/")[0] or "/"]
        case "missing file":
            file[name] = h5py.ExternalLink("missing.h5", "/data")
        case "own file":
            file[name] = h5py.ExternalLink(
                rng.choice(("scan.h5", ".", "", "/dev/null")), "/" + name
            )
        case "strings":
            text = rng.choice((b"", b"1", b"nan", b"\xff", b"x" * 1000))
            file.create_dataset(name, data=np.full([min(n, 5) for n in shape] or [1], text))
        case "compound":
            file.create_dataset(name, shape, [("a", "u2"), ("b", "f4", (2,))])
        case "external":
            size = max(1, int(np.prod(shape)) * dtype.itemsize)
            listed = [(rng.choice(("missing.bin", "/dev/zero", "..")), 0, size)]
            file.create_dataset(name, shape or (1,), dtype, external=listed)
        case "virtual":
            layout = h5py.VirtualLayout(shape or (1,), dtype)
            layout[...] = h5py.VirtualSource("missing.h5", "/" + name, shape or (1,))
            file.create_virtual_dataset(name, layout)
        case "references":
            listed = np.zeros(2, h5py.ref_dtype)
            file.create_dataset(name, data=listed, dtype=h5py.ref_dtype)
        case "layout":
            chunks = tuple(max(1, min(n, rng.choice((1, 2, 3)))) for n in shape)
            filters: list[dict[str, Any]] = [
                {}, {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True},
                {"fletcher32": True}, {"scaleoffset": 0}, {"compression": "szip"},
            ]  # fmt: skip
            more = rng.choice(filters)
            if not shape:
                more, chunks = {}, None
            if dtype.kind not in "iu":
                more.pop("scaleoffset", None)
            try:
                file.create_dataset(name, shape, dtype, chunks=chunks or None, **more)
            except ValueError:  # szip is not there
                file.create_dataset(name, shape, dtype)
        case "enum":
            enum = h5py.enum_dtype({"a": 0, "b": 1}, "u1")
            file.create_dataset(name, shape, enum)
        case "type":
            file[name] = dtype
        case "lines":
            file.create_dataset(name, data=np.array(["a", "b"], object), dtype=h5py.string_dtype())
    if rng.random() < 0.7 and isinstance(file.get(name), (h5py.Dataset, h5py.Group)):
        for key, value in attributes.items():
            file[name].attrs[key] = value
    return kind


def _attribute(file: h5py.File, rng: Random, names: list[str]) -> str:
    """Change, remove or add an attribute."""
    item = file.get(rng.choice(["/", *names]))
    if item is None:
        return "nothing"
    keys = list(item.attrs)
    every = sorted({key for n in names[:50] if file.get(n) is not None for key in file[n].attrs})
    key = rng.choice(keys) if keys else rng.choice([*every, "units", "version", "shape"])
    if keys and rng.random() < 0.2:
        del item.attrs[key]
        return f"attribute {key} removed"
    value = item.ref if rng.random() < 0.05 else rng.choice(_ODD)
    item.attrs[key] = value
    return f"attribute {key} of {item.name} = {str(value)[:40]!r}"


def change_objects(rng: Random, case: Case, name: str) -> None:
    """Change objects of a file, which stays well-formed."""
    if name in case.changes:  # the library writes to sound files only
        return write_numbers(rng, case, name)
    content = BytesIO(case.content(name))
    file = h5py.File(content, "r+")
    words = []
    try:
        with file:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                names = _objects(file)
                if not names:
                    break
                target = rng.choice(names)
                match rng.randrange(10):
                    case 0:
                        del file[target]
                        words.append(f"{target} removed")
                    case 1:
                        file.move(target, rng.choice((target + "x", "x", "data", "entry/x")))
                        words.append(f"{target} renamed")
                    case 2 | 3 | 4:
                        words.append(_attribute(file, rng, names))
                    case 5 if isinstance(file.get(target), h5py.Dataset):
                        words.append(f"{target}: {_write_values(file[target], rng)}")
                    case _:
                        words.append(f"{target} is {_replace(file, rng, target)}")
    except _DO_NOT_FIT as error:  # not everything fits everywhere
        words.append(f"({type(error).__name__})")
    new = content.getvalue()
    if new == case.content(name):
        return flip_bits(rng, case, name)
    case.put(name, new, ", ".join(words))
    return None


def _write_values(dataset: h5py.Dataset, rng: Random) -> str:
    """Put odd values into a dataset that keeps its type and shape."""
    if not dataset.size or dataset.dtype.kind not in "iufb":
        return "as it is"
    if prod(dataset.shape[1:]) > 10**6:  # said by an earlier damage
        return "as large as it is said to be"
    values = np.asarray(dataset[()] if dataset.size < 10**5 else dataset[:1])
    flat = bytearray(values.tobytes())
    size = values.itemsize
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.randrange(len(flat) // size) * size
        flat[at : at + size] = odd_number(rng, bytes(flat[at : at + size]))
    new = np.frombuffer(bytes(flat), values.dtype).reshape(values.shape)
    if dataset.size < 10**5:
        dataset[()] = new
    else:
        dataset[:1] = new
    return "odd values"


def damage_chunks(rng: Random, case: Case, name: str) -> None:
    """Turn bits of stored chunks around."""
    if name in case.changes:
        return flip_bits(rng, case, name)
    raw = bytearray(case.content(name))
    chunks = []
    with h5py.File(BytesIO(bytes(raw)), "r") as file:
        for path in _objects(file):
            item = file.get(path)
            if isinstance(item, h5py.Dataset) and item.chunks is not None:
                for i in range(min(item.id.get_num_chunks(), 20)):
                    info = item.id.get_chunk_info(i)
                    chunks.append((info.byte_offset, info.size))
    if not chunks:
        return flip_bits(rng, case, name)
    start, size = rng.choice(chunks)
    if not size or start is None or start + size > len(raw):
        return flip_bits(rng, case, name)
    if rng.random() < 0.3:
        raw[start : start + size] = bytes(size)
        words = "zeros"
    else:
        count = rng.choice((1, 2, 10))
        places = [start + rng.randrange(min(size, rng.choice((16, size)))) for _ in range(count)]
        for at in places:
            raw[at] ^= 1 << rng.randrange(8)
        words = f"bits at {places}"
    case.put(name, bytes(raw), f"chunk at {start}: {words}")
    return None


DAMAGES: tuple[Damage, ...] = (
    *[change_objects] * 10,
    *(damage_chunks, damage_chunks, cut, rearrange, flip_bits, write_numbers, write_token),
)
