# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes and small data sets of HDF5 files, looked at before they are read.

The library allocates what a file announces, follows what it refers to, and can end the process over
values of odd types in damaged files. So type, size and storage are asked for first, and what is no
number or text of a sensible size is not read.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.parsing.text import legible
from rsciio_tem.storage.files import bytes_of, open_binary, read_start
from rsciio_tem.storage.identities import content_of
from rsciio_tem.storage.remote.address import is_address

__all__ = [
    "DAMAGE",
    "address",
    "attribute",
    "attributes",
    "creation_of",
    "damaged_texts",
    "filename_of",
    "has_attribute",
    "has_link",
    "inside",
    "is_hard",
    "link_of",
    "names_in",
    "numbers",
    "part",
    "plain",
    "remembered",
    "remembering",
    "text",
    "value",
]

T = TypeVar("T")

#: What `remembering` keeps, how much of it at most, and bytes of a value.
_local, _REMEMBERED, _SMALL = threading.local(), 10_000, 4096

#: What h5py raises when a file, or a part of it, is damaged or has a type that numpy lacks.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)

#: Attributes of an object that are looked at, and that are opened by their numbers.
_MOST_ATTRIBUTES, _FEW_ATTRIBUTES = 1000, 16
#: Bytes of an attribute, of a data set, and of a chunk that is inflated for a part of it, at most.
_ATTRIBUTE, _DATA_SET, _CHUNK = 1 << 20, 64 << 20, 256 << 20
#: Texts of any length in one value; fields of a record; types within types.
_TEXTS, _FIELDS, _NESTED = 4096, 256, 4
#: How a heap of texts begins, and the bytes of a file in which they are looked for.
_HEAP, _LOOKED_AT = b"GCOL\1\0\0\0", 256 << 10
_PLACE = np.dtype([("nbytes", "<u4"), ("heap", "<u8"), ("number", "<u4")])
#: Characters of a text, values of an array that go into metadata.
_LONGEST_TEXT, _LONGEST_ARRAY = 1 << 16, 4096


# ---------------------------------------------------------------- objects
#
# What h5py does, without asking for each group and data set which file it is in, and how that was
# opened.


def filename_of(thing: Any) -> str:
    """Return the path of the file that a group or data set is in."""
    import h5py

    return os.fsdecode(h5py.h5f.get_name(thing.id))


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Open, and read, everything once in this thread as long as a file stays open."""
    if getattr(_local, "seen", None) is not None:
        yield
        return
    _local.seen = {}
    try:
        yield
    finally:
        _local.seen = None


def remembered(kind: str, thing: Any, name: Any, find: Callable[..., T], *values: Any) -> T:
    """Return ``find(*values)`` as it was before, in the block of `remembering`."""
    seen = getattr(_local, "seen", None)
    if seen is None:
        return find(*values)
    key = kind, id(thing), name
    if key in seen:
        result: T = seen[key][1]
        return result
    result = find(*values)
    if len(seen) < _REMEMBERED:
        seen[key] = thing, result  # what is kept cannot lend its id to another one
    return result


def address(thing: Any) -> tuple[Any, ...]:
    """Return what tells whether two groups or data sets are the same."""
    return remembered("address", thing, None, _address, thing)


def _address(thing: Any) -> tuple[Any, ...]:
    import h5py

    info = h5py.h5o.get_info(thing.id)
    return info.fileno, info.addr


def _read_once(kind: str, thing: Any, most: int, read: Callable[[], T]) -> T:
    """Return something small that was read of the same group or data set before."""
    seen = getattr(_local, "seen", None)
    if seen is None or most < _SMALL:
        return read()
    try:
        key = kind, address(thing), None
    except (*DAMAGE, AttributeError):
        return read()
    if key in seen:
        result: T = seen[key][1]
        return result
    result = read()
    if len(seen) < _REMEMBERED and (getattr(result, "nbytes", None) or _length(result)) < _SMALL:
        seen[key] = None, result
    return result


def _length(content: Any) -> int:
    return len(content) if hasattr(content, "__len__") else 8


def names_in(group: Any) -> list[Any]:
    """List the names in a group; those that are no text are bytes."""
    return remembered("names", group, None, list, group)


def has_link(group: Any, name: str) -> bool:
    """Whether there is a name in a group, of anything or of a link to wherever."""
    return remembered("link", group, name, _has_link, group, name)


def _has_link(group: Any, name: str) -> bool:
    try:
        return bool(group.id.links.exists(_encoded(name)))
    except (*DAMAGE, AttributeError):
        return True  # whoever opens it says what is wrong


def is_hard(group: Any, name: str) -> bool:
    """Whether a name in a group is that of something in the same file, not a link to elsewhere."""
    return remembered("hard", group, name, _is_hard, group, name)


def _is_hard(group: Any, name: str) -> bool:
    import h5py

    try:
        return bool(group.id.links.get_info(_encoded(name)).type == h5py.h5l.TYPE_HARD)
    except DAMAGE:
        return False


def link_of(group: Any, name: str) -> Any:
    """Return where a name in a group leads, as ``group.get(name, getlink=True)`` does."""
    import h5py

    links, encoded = group.id.links, _encoded(name)
    if not links.exists(encoded):
        return None
    if links.get_info(encoded).type != h5py.h5l.TYPE_EXTERNAL:
        return group.get(name, getlink=True)
    file, path = links.get_val(encoded)
    return h5py.ExternalLink(os.fsdecode(file), path.decode("utf-8", "surrogateescape"))


def inside(group: Any, name: str) -> Any:
    """Open something that is in a group itself, as ``group[name]`` does."""
    return remembered("inside", group, name, _inside, group, name)


def _inside(group: Any, name: str) -> Any:
    import h5py

    thing = h5py.h5o.open(group.id, _encoded(name))
    if isinstance(thing, h5py.h5g.GroupID):
        return h5py.Group(thing)
    if isinstance(thing, h5py.h5d.DatasetID):
        return h5py.Dataset(thing, readonly=True)
    return group[name]


def creation_of(dataset: Any) -> Any:
    """Return the list of properties that a data set was created with."""
    return remembered("creation", dataset, None, dataset.id.get_create_plist)


def _encoded(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


# ---------------------------------------------------------------- types


def _is_readable(kind: Any, depth: int = 0) -> bool:
    """Whether values of a type are numbers, text, or records and arrays of a few of them."""
    import h5py

    h5t, number = h5py.h5t, kind.get_class()
    if number in (h5t.INTEGER, h5t.BITFIELD):
        return int(kind.get_size()) in (1, 2, 4, 8)
    if number == h5t.FLOAT:
        return 0 < int(kind.get_size()) <= 16
    if number == h5t.STRING:
        return True
    if number == h5t.OPAQUE:  # one field of bytes, if h5py wrote it
        return depth == 0
    if number == h5t.ENUM:
        return _is_readable(kind.get_super(), depth + 1)
    if depth >= _NESTED:
        return False
    if number == h5t.ARRAY:
        return _is_readable(kind.get_super(), depth + 1)
    if number == h5t.COMPOUND:
        count = kind.get_nmembers()
        return 0 < count <= _FIELDS and all(
            _is_readable(kind.get_member_type(i), depth + 1) for i in range(count)
        )
    if hasattr(h5t, "COMPLEX") and number == h5t.COMPLEX:
        return _is_readable(kind.get_super(), depth + 1)
    return False  # references, sequences of any length, times


def _has_variable_text(kind: Any) -> bool:
    """Whether elements of a type have texts of any length, which count with a few bytes only."""
    import h5py

    number = kind.get_class()
    if number == h5py.h5t.STRING:
        return bool(kind.is_variable_str())
    if number == h5py.h5t.ARRAY:
        return _has_variable_text(kind.get_super())
    if number == h5py.h5t.COMPOUND:
        members = range(kind.get_nmembers())
        return any(_has_variable_text(kind.get_member_type(i)) for i in members)
    return False


def _fits(thing: Any, kind: Any, count: int, most: int) -> bool:
    """Whether so many elements of a type can be read, and take at most so many bytes."""
    if not _is_readable(kind) or count * kind.get_size() > most:
        return False
    if not _has_variable_text(kind):
        return True
    return count <= _TEXTS and _has_whole_texts(thing)


def _has_whole_texts(thing: Any) -> bool:
    """Whether nothing is seen to be damaged where the texts of a file are; looked at once."""
    seen = getattr(_local, "seen", None)
    if seen is None:
        return damaged_texts(filename_of(thing)) < 0
    key = "texts", address(thing)[0], None
    if key not in seen:
        seen[key] = None, damaged_texts(filename_of(thing)) < 0
    return bool(seen[key][1])


# ---------------------------------------------------------------- texts of any length


def damaged_texts(path: str) -> int:
    """Return where the texts of any length in a file are damaged, -1 if nothing is seen.

    They are in global heaps: ``GCOL``, version, bytes; then number, references and bytes of one
    text after the other. The library goes on for ever at one that takes no bytes. Looked at is the
    beginning of a file, where such heaps are, unless they were added later.
    """
    if is_address(path):  # one of a server is read again for each call
        return _damaged_heap.__wrapped__(path, bytes_of(path), 0)
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return _damaged_heap(path, status.st_size, content_of(status))


@lru_cache(maxsize=256)
def _damaged_heap(path: str, size: int, content: Hashable) -> int:
    del content
    try:
        head = read_start(path, _LOOKED_AT)
    except FormatError:
        return -1
    at = head.find(_HEAP)
    while at >= 0:
        length = int.from_bytes(head[at + 8 : at + 16], "little")
        if length < 16 or at + length > size:
            return at
        place, end = at + 16, min(at + length, len(head))
        while end - place >= 16:
            number = int.from_bytes(head[place : place + 2], "little")
            nbytes = int.from_bytes(head[place + 8 : place + 16], "little")
            step = 16 + -(-nbytes // 8) * 8 if number else nbytes  # 0 is what is left over
            if step < 16 or place + step > at + length:
                return place
            place += step
        at = head.find(_HEAP, at + 1)
    return -1


def _has_its_texts(dataset: Any, kind: Any) -> bool:
    """Whether the places of a data set's texts of any length are in its file, as far as is seen.

    Of each text its bytes, the address of a heap, and a number in it are stored. The library takes
    memory for what is said there, up to 4 GiB, before it looks into the heap.
    """
    import h5py

    variable = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    start = dataset.id.get_offset() if variable else None
    if start is None:  # stored in chunks, or in the description
        return True
    addresses, _ = h5py.h5i.get_file_id(dataset.id).get_create_plist().get_sizes()
    if addresses != 8:  # very old
        return True
    path = filename_of(dataset)
    count = math.prod(dataset.shape)
    try:
        size = bytes_of(path)
        with open_binary(path) as file:
            file.seek(start)
            places = np.frombuffer(file.read(_PLACE.itemsize * count), _PLACE)
    except (OSError, ValueError):
        return True  # a driver of its own
    texts = places[places["nbytes"] > 0]
    ends = texts["heap"].astype(float) + texts["nbytes"]
    return len(places) == count and bool((ends <= size).all())


# ---------------------------------------------------------------- attributes


def has_attribute(thing: Any, name: str) -> bool:
    """Whether a group or data set has an attribute, of any type."""
    import h5py

    with contextlib.suppress(*DAMAGE, AttributeError):
        return bool(h5py.h5a.exists(thing.id, name.encode()))
    return False


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """Return an attribute; the default where there is none, or none of numbers or text."""
    if thing is None:
        return default
    content = remembered("attribute", thing, name, _attribute, thing, name)
    if content is _MISSING:
        return default
    return content.copy() if isinstance(content, np.ndarray) else content


_MISSING = object()


def _attribute(thing: Any, name: str) -> Any:
    import h5py

    try:
        encoded = name.encode("utf-8", "surrogateescape")
        if not h5py.h5a.exists(thing.id, encoded):
            return _MISSING
        return _content(thing, name, h5py.h5a.open(thing.id, encoded))
    except (*DAMAGE, AttributeError):  # nothing that has attributes
        return _MISSING


def _content(thing: Any, name: str, described: Any) -> Any:
    """Return what an open attribute of a group or data set holds."""
    try:
        shape, kind = described.shape, described.get_type()
        count = 0 if shape is None else math.prod(shape)
        if not _fits(thing, kind, count, _ATTRIBUTE):
            return _MISSING
        if shape is None or kind.get_class() not in _plain_classes():
            return thing.attrs[name]
        dtype = kind.dtype
        content = np.zeros(shape, dtype)
        described.read(content)
        if dtype.kind == "O":  # texts of any length
            texts = [one.decode("utf-8", "surrogateescape") for one in content.flat]
            content = np.array(texts, dtype).reshape(shape)
    except (*DAMAGE, AttributeError):
        return _MISSING
    return content if shape else content[()]


@lru_cache(maxsize=1)
def _plain_classes() -> frozenset[int]:
    """Return the types whose values are read without a detour: numbers and texts."""
    from h5py import h5t

    return frozenset((h5t.INTEGER, h5t.FLOAT, h5t.STRING, h5t.ENUM))


def attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of a group or data set; those that cannot be read are left out."""
    return dict(_read_once("attributes", thing, _SMALL, lambda: _attributes(thing)))


def _attributes(thing: Any) -> dict[str, Any]:
    import h5py

    values: dict[str, Any] = {}
    with contextlib.suppress(*DAMAGE, AttributeError):
        count = h5py.h5a.get_num_attrs(thing.id)
        if not count:
            return values
        if count <= _FEW_ATTRIBUTES and not isinstance(thing, h5py.File):
            return _few_attributes(thing, count)
    with contextlib.suppress(*DAMAGE):
        for i, name in enumerate(getattr(thing, "attrs", ())):
            if i >= _MOST_ATTRIBUTES:
                break
            if (content := attribute(thing, name, _MISSING)) is not _MISSING:
                with contextlib.suppress(*DAMAGE):
                    values[str(name)] = plain(content)
    return values


def _few_attributes(thing: Any, count: int) -> dict[str, Any]:
    """Open each attribute by its number, in the order in which h5py names them."""
    from h5py import h5, h5a, h5p

    tracked = creation_of(thing).get_attr_creation_order() & h5p.CRT_ORDER_TRACKED
    order = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
    values: dict[str, Any] = {}
    for i in range(count):
        with contextlib.suppress(*DAMAGE):
            described = h5a.open(thing.id, index=i, index_type=order, order=h5.ITER_INC)
            name = described.name.decode("utf-8", "surrogateescape")
            content = remembered("attribute", thing, name, _content, thing, name, described)
            if content is not _MISSING:
                values[name] = plain(content)
    return values


# ---------------------------------------------------------------- data sets


def value(dataset: Any, most: int = _DATA_SET) -> Any:
    """Return what a small data set holds, as h5py does.

    None if it has no value, or more than `most` bytes of it, if it is of a type that is neither
    numbers nor text, or if it is put together from others.
    """
    content = _read_once("value", dataset, most, lambda: part(dataset, (), most))
    return content.copy() if isinstance(content, np.ndarray) else content


def part(dataset: Any, key: Any, most: int = _DATA_SET) -> Any:
    """Return a part of a data set, as `value` does; `most` is for the part."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        return None
    try:
        created = creation_of(dataset)
        layout = created.get_layout()
        if layout == h5py.h5d.VIRTUAL or created.get_external_count():
            return None
        shape, kind = dataset.shape, dataset.id.get_type()
        if shape is None:
            return None
        count = _selected(shape, key)
        chunks = created.get_chunk() if layout == h5py.h5d.CHUNKED else ()
        if not _fits(dataset, kind, count, most) or math.prod(chunks) * kind.get_size() > _CHUNK:
            return None
        if not _has_its_texts(dataset, kind):
            return None
        if key != () or kind.get_class() not in _plain_classes():
            return dataset[key]
        content = np.zeros(shape, kind.dtype)
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, content)
        return content if shape else content[()]
    except (*DAMAGE, IndexError):
        return None


def _selected(shape: tuple[int, ...], key: Any) -> int:
    """Return how many elements a key of numbers and slices selects."""
    keys = key if isinstance(key, tuple) else (key,)
    count = math.prod(shape[len(keys) :])
    for n, one in zip(shape, keys, strict=False):
        if isinstance(one, slice):
            start, stop, step = one.indices(n)
            count *= max(0, -(-(stop - start) // step))  # len() of ranges ends at 2^63
    return count


def numbers(dataset: Any) -> list[float]:
    """Return a short one-dimensional data set of numbers as a list, otherwise nothing."""
    shape = getattr(dataset, "shape", None)
    if shape is None or len(shape) != 1 or not 0 < shape[0] <= 1 << 20:
        return []
    content = value(dataset)
    if isinstance(content, np.ndarray) and content.dtype.kind in "iuf":
        result: list[float] = content.astype(np.float64).tolist()
        return result
    return []


# ---------------------------------------------------------------- values as Python has them


def text(content: Any) -> str:
    """Return a text attribute or data set as str; empty if it is none."""
    if isinstance(content, np.ndarray) and content.size == 1:
        content = content.reshape(-1)[0]
    if not isinstance(content, (bytes, str)):
        return ""
    return legible(content).strip("\0 ").partition("\0")[0][:_LONGEST_TEXT]


def plain(content: Any) -> Any:
    """Return a value of h5py as numbers, text and lists, arrays of more than a few values cut."""
    if isinstance(content, (bytes, str)):
        return legible(content).rstrip("\0")[:_LONGEST_TEXT]
    if isinstance(content, np.void):
        names = content.dtype.names
        return {n: plain(content[n]) for n in names} if names else content.tobytes().hex()
    if isinstance(content, np.generic):
        item = content.item()
        return plain(item) if not isinstance(item, np.generic) else str(content)
    if isinstance(content, np.ndarray):
        if content.size > _LONGEST_ARRAY:
            return f"array of {content.shape} {content.dtype}"
        return [plain(v) for v in content] if content.ndim else plain(content[()])
    if isinstance(content, (bool, int, float, complex)) or content is None:
        return content
    return str(content)
