# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a .npy: a literal of Python, which is read and never evaluated.

``{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }``; `descr` of records is a list of
fields. NumPy evaluates it, and for old versions of the format without regard to its length.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LONGEST", "MAGIC", "NpyHeader", "array_described", "npy_header"]

MAGIC = b"\x93NUMPY"

#: Bytes of a header at most: that of a plain array has some 100, one of many fields a few kB.
LONGEST = 1 << 16
#: Brackets within brackets, digits of a number, axes: NumPy has no use for more.
_DEEPEST, _DIGITS, _AXES = 8, 40, 64

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>u?'[^'\\\n]*'|u?"[^"\\\n]*")
      | (?P<number>-?\d+)[lL]?(?![\w.])          # Python 2 wrote sizes as 10L
      | (?P<name>True|False|None)\b
      | (?P<mark>[()\[\]{},:])
    )""",
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_TYPE = re.compile(r"[<>|=]?[a-zA-Z?]\d{0,9}(?:\[\d{0,9}[a-zA-Z]{1,7}\])?")


class NpyHeader(NamedTuple):
    """What the header of a .npy says; the data begin at `offset`."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(head: bytes) -> NpyHeader:
    """Read the header of a .npy that begins with `head`.

    Raises
    ------
    ValueError
        It is not a .npy, or its header is damaged or not complete in `head`.
    """
    if head[:6] != MAGIC or len(head) < 12 or head[6] not in (1, 2, 3):
        raise ValueError("it is not a .npy of version 1 to 3")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > LONGEST or start + length > len(head):
        raise ValueError(f"its header of {length} bytes is not there")
    described = head[start : start + length].decode("utf-8" if head[6] == 3 else "latin-1")
    return NpyHeader(*array_described(described), start + length)


def array_described(text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Return type, Fortran order and shape that the text of a header says.

    Raises
    ------
    ValueError
        It makes no sense.
    """
    tree = _Literal(text).whole()
    if not isinstance(tree, dict) or set(tree) != {"descr", "fortran_order", "shape"}:
        raise ValueError("it has not the keys descr, fortran_order and shape")
    fortran, shape = tree["fortran_order"], tree["shape"]
    sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or len(shape) > _AXES or not isinstance(fortran, bool):
        raise ValueError("its shape or order makes no sense")
    return _dtype(tree["descr"]), fortran, shape


def _dtype(described: Any) -> np.dtype[Any]:
    """Return the type that `descr` names: a code, a list of fields, or one with a shape."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old codes
            dtype: np.dtype[Any] = np.dtype(_checked(described))
            return dtype
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _checked(described: Any) -> Any:
    """Return `descr` as `numpy.dtype` takes it, if nothing in it is out of place."""
    if isinstance(described, str) and _TYPE.fullmatch(described):
        return described
    if isinstance(described, tuple) and len(described) == 2:
        return _dtype(described[0]), described[1]
    if not isinstance(described, list):
        raise ValueError("its type makes no sense")
    names, types, offsets, offset = [], [], [], 0
    for field in described:
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            raise ValueError("its fields make no sense")
        label = field[0][-1] if isinstance(field[0], tuple) and field[0] else field[0]
        dtype = _dtype((field[1], field[2]) if len(field) == 3 else field[1])
        if not isinstance(label, str):
            raise ValueError("its fields make no sense")
        if label:  # without name they only fill up
            names.append(label)
            types.append(dtype)
            offsets.append(offset)
        offset += dtype.itemsize
    return {"names": names, "formats": types, "offsets": offsets, "itemsize": offset}


class _Literal:
    """Reads dictionaries, lists, tuples, text, whole numbers and truth values."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text.strip(), 0
        if len(self.text) > LONGEST:
            raise ValueError("its header is too long")

    def whole(self) -> Any:
        """Return the value of the whole text."""
        value = self._value(self._token(), 0)
        if self.at != len(self.text):
            raise ValueError("its header goes on behind its end")
        return value

    def _token(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            raise ValueError("its header is not a literal")
        self.at = match.end()
        return match

    def _value(self, token: re.Match[str], depth: int) -> Any:
        if token["text"]:
            return token["text"].removeprefix("u")[1:-1]
        if token["number"]:
            if len(token["number"]) > _DIGITS:
                raise ValueError("a number in its header has too many digits")
            return int(token["number"])
        if token["name"]:
            return {"True": True, "False": False, "None": None}[token["name"]]
        opening = token["mark"]
        if opening not in _CLOSING or depth >= _DEEPEST:
            raise ValueError("its header has misplaced brackets")
        items, commas = self._items(opening, depth + 1)
        if opening == "{":
            return dict(items)
        if opening == "(":
            return items[0] if len(items) == 1 and not commas else tuple(items)
        return items

    def _items(self, opening: str, depth: int) -> tuple[list[Any], int]:
        """Return what is in brackets, pairs for ``{``, and the number of commas."""
        items: list[Any] = []
        commas, closing = 0, _CLOSING[opening]
        while (token := self._token())["mark"] != closing:
            if commas < len(items):
                raise ValueError("its header lacks a comma")
            value = self._value(token, depth)
            if opening == "{":
                if not isinstance(value, str) or self._token()["mark"] != ":":
                    raise ValueError("its header has misplaced keys")
                value = value, self._value(self._token(), depth)
            items.append(value)
            token = self._token()
            if token["mark"] == closing:
                break
            if token["mark"] != ",":
                raise ValueError("its header lacks a comma")
            commas += 1
        return items, commas
