# SPDX-License-Identifier: GPL-3.0-or-later
"""The tag tree of DigitalMicrograph files (DM3, DM4, and the .gtg of a K2 IS recording).

Layout: a version, the length of the tree and the byte order of values, then nested groups of tags.
The structure is big-endian whatever the order of values. Nothing that an array holds is read,
except text: large arrays are described by type, length and offset.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from unicodedata import category

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated
from rsciio_tem.parsing.text import legible
from rsciio_tem.parsing.trees import value_at as group
from rsciio_tem.storage.files import bytes_of, open_binary

__all__ = ["TagArray", "group", "is_dm", "plain_tags", "read_tags"]

#: Types of values: code in the file, type without byte order.
TYPES = {
    2: "i2",
    3: "i4",
    4: "u2",  # also one unit of UTF-16 text
    5: "u4",
    6: "f4",
    7: "f8",
    8: "u1",  # boolean
    9: "i1",
    10: "u1",
    11: "i8",
    12: "u8",
}

_STRUCT, _STRING, _ARRAY = 15, 18, 20
_DATA, _GROUP = 21, 20

#: Arrays up to this number of elements and bytes become lists, more of them where the names are
#: RosettaSciIO's; text up to this number of characters becomes a str.
_SHORT, _SHORT_BYTES, _LONGER, _LONGEST_TEXT = 64, 1 << 12, 1 << 14, 1 << 16

#: Group and name of the pixels of an image.
_PIXELS = ("ImageData", "Data")

#: Limits that no file comes near: of the depth of groups, the number of tags, the numbers that
#: describe a type, and the bytes of one element.
_DEPTH, _TAGS, _INFO, _ELEMENT = 100, 500_000, 4096, 1 << 16


@dataclass(frozen=True)
class TagArray:
    """An array that stays in the file.

    Parameters
    ----------
    dtype : numpy.dtype
        Type of an element, byte order included.
    count : int
        Number of elements.
    offset : int
        Byte at which it begins.
    """

    dtype: np.dtype[Any]
    count: int
    offset: int


def is_dm(head: bytes) -> bool:
    """Whether a file that begins with `head` looks like a DM3 or DM4 file."""
    if len(head) < 18 or head[:4] not in (b"\0\0\0\3", b"\0\0\0\4"):
        return False
    at = 8 if head[3] == 3 else 12
    return head[at : at + 4] in (b"\0\0\0\0", b"\0\0\0\1")


def read_tags(
    path: str | os.PathLike[str], *, rosettasciio: bool = False, skip: Collection[str] = ()
) -> dict[str, Any]:
    """Read the tags of a file as nested dictionaries.

    Text is a str, a structure a tuple, a short array a list, any other array a `TagArray`, as is
    ``Data`` in a group ``ImageData`` (the pixels of an image) in any case.

    Parameters
    ----------
    path : path
        The file.
    rosettasciio : bool
        Name tags as `rsciio.digitalmicrograph` does: those without a name "TagGroup0",
        "TagGroup1", … and "Data0", "Data1", …, others without their dots. Its values too: flags
        are 0 or 1, bytes are signed, and arrays of up to 16384 elements are lists. Otherwise tags
        without a name are called by their number in the group.
    skip : collection of str
        Names of groups that are left out. In DM4 they are not even walked through.

    Raises
    ------
    NotThisFormat
        It is not a DM3 or DM4 file.
    FormatError, Truncated
        Its structure is damaged.
    """
    try:
        with open_binary(path, 1 << 16) as file:
            return _Walk(file, path, rosettasciio, skip).root()
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}.") from error


def plain_tags(tree: Any) -> Any:
    """Return the tree with each `TagArray` as a dictionary, ready for ``original_metadata``."""
    if isinstance(tree, dict):
        return {name: plain_tags(value) for name, value in tree.items()}
    if isinstance(tree, TagArray):
        return {"dtype": str(tree.dtype), "count": tree.count, "offset": tree.offset}
    return tree


class _Walk:
    """One pass over a file."""

    def __init__(
        self,
        file: BinaryIO,
        path: str | os.PathLike[str],
        rosettasciio: bool,
        skipped: Collection[str],
    ) -> None:
        self.file, self.path = file, path
        self.rosettasciio, self.skipped = rosettasciio, frozenset(skipped)
        self.size = bytes_of(path)
        self.tags = 0
        self.order = ">"
        self.wide = False

    def root(self) -> dict[str, Any]:
        head = self.file.read(16)
        if not is_dm(head + b"\0\0"):
            raise NotThisFormat(self.path, "is not a DM3 or DM4 file.")
        self.wide = head[3] == 4
        at = 12 if self.wide else 8
        self.order = "<" if head[at + 3] else ">"
        self.file.seek(at + 4)
        return self.group(0)

    # ---------------------------------------------------------------- bytes

    def take(self, n: int) -> bytes:
        content = self.file.read(n) if n <= self.size else b""
        if len(content) < n:
            raise Truncated(self.path, f"ends at byte {self.size}, in the middle of its tags.")
        return content

    def word(self) -> int:
        """Read a length: 4 bytes in DM3, 8 in DM4."""
        return int.from_bytes(self.take(8 if self.wide else 4), "big")

    def skip(self, n: int) -> None:
        at = self.file.tell()
        if n < 0 or at + n > self.size:
            raise Truncated(
                self.path, f"ends at byte {self.size}, a tag reaches up to byte {at + n}."
            )
        self.file.seek(n, os.SEEK_CUR)

    def damaged(self, what: str) -> FormatError:
        return FormatError(self.path, f"has damaged tags near byte {self.file.tell()}: {what}.")

    # ---------------------------------------------------------------- structure

    def group(self, depth: int, within: str = "") -> dict[str, Any]:
        if depth > _DEPTH:
            raise self.damaged(f"groups are nested more than {_DEPTH} deep")
        self.skip(2)  # whether it is sorted, whether it is shown open
        tree: dict[str, Any] = {}
        unnamed = {_DATA: 0, _GROUP: 0}
        for i in range(self.word()):
            self.tags += 1
            if self.tags > _TAGS:
                raise self.damaged(f"more than {_TAGS} tags")
            kind = self.take(1)[0]
            if kind == 0:  # end of file
                break
            if kind not in (_DATA, _GROUP):
                raise self.damaged(f"a tag of kind {kind}")
            name = self.take(int.from_bytes(self.take(2), "big")).decode("latin-1")
            if self.rosettasciio:
                name = name.replace(".", "")
                if not name:
                    name = f"{'Data' if kind == _DATA else 'TagGroup'}{unnamed[kind]}"
                    unnamed[kind] += 1
            name = name or str(i)
            end = None
            if self.wide:
                length = self.word()
                end = self.file.tell() + length
                if end > self.size and kind == _DATA and (within, name) != _PIXELS:
                    self.skip(length)
            left_out = kind == _GROUP and name in self.skipped
            if not (left_out and self.wide):
                value = (
                    self.group(depth + 1, name)
                    if kind == _GROUP
                    else self.data(pixels=(within, name) == _PIXELS)
                )
            if end is not None:
                self.file.seek(min(end, self.size))  # what is said to lie behind the end is missing
            if left_out:
                continue
            if name in tree:  # two of one name: keep both
                name = f"{name}_{i}"
            tree[name] = value
        return tree

    def data(self, pixels: bool = False) -> Any:
        if (mark := self.take(4)) != b"%%%%":
            raise self.damaged(f"{mark!r} where %%%% begins a value")
        count = self.word()
        if not 0 < count <= _INFO:
            raise self.damaged(f"a type described by {count} numbers")
        info = iter([self.word() for _ in range(count)])
        try:
            return self.value(info, pixels)
        except StopIteration:
            raise self.damaged("the description of a type is too short") from None

    def value(self, info: Iterator[int], pixels: bool) -> Any:
        code = next(info)
        if code == _ARRAY:
            dtype = self.type(next(info), info)
            return self.array(dtype, next(info), pixels)
        if code == _STRING:
            return self.text(self.take(next(info)))
        if code == _STRUCT:
            dtype = self.type(code, info)
            return np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()
        if code not in TYPES:
            raise self.damaged(f"a value of type {code}")
        (number,) = np.frombuffer(self.take(np.dtype(TYPES[code]).itemsize), self.simple(code))
        return bool(number) if code == 8 and not self.rosettasciio else number.item()

    def simple(self, code: int) -> np.dtype[Any]:
        kind = "i1" if code == 10 and self.rosettasciio else TYPES[code]
        return np.dtype(self.order + kind)

    def type(self, code: int, info: Iterator[int]) -> np.dtype[Any]:
        """Build the type of an array's element, or of a structure."""
        if code in TYPES:
            return self.simple(code)
        if code == _STRUCT:
            next(info)  # length of its name, always 0
            fields = []
            for i in range(next(info)):
                next(info)
                fields.append((str(i), self.type(next(info), info)))
            if not fields:
                raise self.damaged("a structure without fields")
            return np.dtype(fields)
        if code == _ARRAY:
            element = self.type(next(info), info)
            n = next(info)
            if not 0 < n * element.itemsize <= _ELEMENT:
                raise self.damaged(f"an array of {n} elements")
            return np.dtype((element, (n,)))
        raise self.damaged(f"elements of type {code}")

    def array(self, dtype: np.dtype[Any], count: int, pixels: bool) -> Any:
        offset, nbytes = self.file.tell(), count * dtype.itemsize
        if pixels and offset + nbytes > self.size:
            raise Truncated(
                self.path,
                f"ends at byte {self.size}, within the pixels of an image, which reach up to byte "
                f"{offset + nbytes}.",
                "What the image is like (its sizes, for example) comes behind the pixels and is "
                "lost with them.",
            )
        if not pixels:
            if dtype == self.simple(4) and count <= _LONGEST_TEXT:
                text = self.wide_text(self.take(nbytes))
                if text is not None and (count or not self.rosettasciio):
                    return text
                self.file.seek(offset)
            short = nbytes <= _SHORT_BYTES and count <= _SHORT
            longer = self.rosettasciio and nbytes <= _LONGEST_TEXT and count <= _LONGER
            if dtype.itemsize and (short or longer):
                return np.frombuffer(self.take(nbytes), dtype).tolist()
        self.skip(nbytes)
        return TagArray(dtype, count, offset)

    def wide_text(self, words: bytes) -> str | None:
        """Return the text that 16-bit numbers are, None if they are a table."""
        try:
            text = words.decode("utf-16-le" if self.order == "<" else "utf-16-be").rstrip("\0")
        except UnicodeDecodeError:
            return None
        odd = (c for c in set(text) - set("\t\n\v\f\r") if category(c) in ("Cc", "Cn"))
        return text if next(odd, None) is None else None

    @staticmethod
    def text(content: bytes) -> str:
        """Return text of older files, which is in the code page of the computer or in UTF-8."""
        return legible(content).rstrip("\0")
