# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and times from the headers of many frames, without an object per frame."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.table import FrameTable
from rsciio_tem.scan.times import Bytes, Ints
from rsciio_tem.storage import backends

__all__ = ["decimals", "integers", "moments", "read_headers", "read_headers_at", "sampled"]

# ---------------------------------------------------------------- text in headers, vectorised


def integers(text: Bytes) -> Ints:
    """Value of columns of digits, shape (frames, digits); -1 where there is anything else.

    Leading blanks count as zeros.
    """
    if not 0 < text.shape[1] <= _EXACT:
        return _long_integers(text)
    digits, good = _digits(text)
    return np.where(good, (digits @ _POWERS[-text.shape[1] :]).astype(np.int64), -1)


#: Digits of which float64 holds all numbers, and what each counts.
_EXACT = 15
_POWERS = 10.0 ** np.arange(_EXACT - 1, -1, -1)


def _digits(text: Bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the value of each digit, and in which rows there are digits and blanks only."""
    digits = text - np.uint8(ord("0"))  # of anything else, more than 9
    digits[text == ord(" ")] = 0
    good: npt.NDArray[np.bool_] = np.all(digits <= 9, axis=1)
    return digits.astype(np.float64), good


def _long_integers(text: Bytes) -> Ints:
    value, bad = np.zeros(len(text), np.int64), np.zeros(len(text), np.bool_)
    for column in text.T:
        digit = column - np.uint8(ord("0"))
        digit[column == ord(" ")] = 0
        bad |= digit > 9
        value *= 10
        value += digit
    return np.where(bad | (text.shape[1] == 0), -1, value)


def decimals(text: Bytes, unit: int) -> Ints:
    """Value of columns such as ``0.001000`` or ``2.5E+1`` in 1/unit; -1 where there is no such."""
    if not text.size:
        return np.full(len(text), -1, np.int64)
    if (marks := np.flatnonzero((text[0] == ord("E")) | (text[0] == ord("e")))).size:
        return _scientific(text, int(marks[0]), unit)
    dots = np.flatnonzero(text[0] == ord("."))
    if len(dots) > 1:
        return np.full(len(text), -1, np.int64)
    dot = int(dots[0]) if len(dots) else text.shape[1]
    places = len(str(unit)) - 1
    whole = integers(text[:, :dot])
    after = text[:, dot + 1 : dot + 1 + places]
    fraction = integers(after) if after.shape[1] else np.zeros(len(text), np.int64)
    value = whole * unit + fraction * 10 ** (places - after.shape[1])
    return np.where((whole < 0) | (fraction < 0), -1, value)


def _scientific(text: Bytes, mark: int, unit: int) -> Ints:
    """Value of decimals with an exponent behind column `mark`."""
    mantissa, tail = decimals(text[:, :mark], unit), text[:, mark + 1 :]
    signed = tail.shape[1] > 1 and tail[0, 0] in b"+-"
    exponent = integers(tail[:, 1:] if signed else tail)
    negative = tail[:, 0] == ord("-") if signed else np.zeros(len(text), np.bool_)
    good = (mantissa >= 0) & (exponent >= 0) & (exponent < 10)
    if signed:
        good &= negative | (tail[:, 0] == ord("+"))
    power = 10 ** np.where(good, exponent, 0)
    good &= mantissa < 10**18 // power
    return np.where(good, np.where(negative, mantissa // power, mantissa * power), -1)


def moments(text: Bytes) -> Ints:
    """Nanoseconds since 1970 of columns ``YYYY-MM-DD?hh:mm:ss[.fraction]``; -1 if they are none."""
    n, width = text.shape
    nothing = np.full(n, -1, np.int64)
    if width < 19 or not n:
        return nothing
    end = 20
    while end < min(width, 29) and ord("0") <= text[0, end] <= ord("9"):
        end += 1
    places = _MOMENT if end == 20 else [*_MOMENT, *range(20, end)]
    digits, good = _digits(text[:, places])
    date = digits[:, :8] @ _POWERS[-8:]
    hour, minute, second = (10 * digits[:, i] + digits[:, i + 1] for i in (8, 10, 12))
    good &= (hour < 24) & (minute < 60) & (second < 60)
    if date.max() == date.min():  # most recordings are made within a day
        day_number, valid = _days(date[:1].astype(np.int64))
    else:
        day_number, valid = _days(date.astype(np.int64))
    good &= valid
    seconds = day_number * 86400 + ((60 * hour + minute) * 60 + second).astype(np.int64)
    value = seconds * 1_000_000_000
    if end > 20:
        fraction = digits[:, 14:] @ _POWERS[-(end - 20) :]
        value += fraction.astype(np.int64) * 10 ** (29 - end)
    return np.where(good, value, nothing)


#: Where the digits of ``YYYY-MM-DD?hh:mm:ss`` are.
_MOMENT = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]


def _days(date: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return days since 1970 of numbers YYYYMMDD, and which of them are dates."""
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    good = (year >= 1970) & (month >= 1) & (month <= 12) & (day >= 1)
    month, year = np.clip(month, 1, 12), np.clip(year, 1970, 9999)
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1).astype("m8[M]")
    first_day, next_first = (
        months.astype("M8[D]"),
        (months + np.timedelta64(1, "M")).astype("M8[D]"),
    )
    good &= first_day + (day - 1).astype("m8[D]") < next_first
    return first_day.astype(np.int64) + day - 1, good


def sampled(count: int, most: int) -> Ints:
    """Return numbers of at most `most` frames, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, max(0, count - 1), most).astype(np.int64))[:count]


def read_headers(frames: FrameTable, first: int, last: int, before: int, size: int) -> Bytes:
    """Read `size` header bytes that begin `before` bytes ahead of the pixels of each frame.

    Parameters
    ----------
    frames : FrameTable
        The frames; blanks have headers of zeros.
    first, last : int
        Range of frames.
    before, size : int
        Place of the header relative to the first pixel, and its length.

    Returns
    -------
    ndarray of uint8, shape (last - first, size)
        Bytes beyond the end of a file are zero.
    """
    headers = np.zeros((max(0, last - first), size), np.uint8)
    for span in frames[first:last].spans():
        if span.file < 0:
            continue  # a blank has no header
        file = frames.files[span.file]
        target = headers[span.first :: span.step][: span.count]
        begin, stride = span.start - before, span.stride
        end = begin + (span.count - 1) * stride + size
        if 0 < stride <= max(4 * size, 4096) and end <= file.size:  # small frames: read through
            step = max(1, backends.BLOCK // stride)
            for i in range(0, span.count, step):
                n = min(step, span.count - i)
                block = backends.read(file, begin + i * stride, (n - 1) * stride + size, "auto")
                target[i : i + n] = np.ndarray(
                    (n, size),
                    np.uint8,
                    buffer=block,
                    strides=(stride, 1),
                )
        else:
            backends.read_pieces(file, begin, stride, target, keep=True)
    return headers


def read_headers_at(
    frames: FrameTable, index: npt.NDArray[np.int64], before: int, size: int
) -> Bytes:
    """Read the headers of some frames, as `read_headers` does.

    Parameters
    ----------
    frames : FrameTable
        The frames; blanks have headers of zeros.
    index : ndarray of int64
        The wanted ones.
    before, size : int
        As in `read_headers`.
    """
    if frames.order is not None:
        stored = frames.order[index]
        headers = np.zeros((len(index), size), np.uint8)
        there = stored >= 0
        in_files = replace(frames, order=None)
        headers[there] = read_headers_at(in_files, stored[there], before, size)
        return headers
    runs, ends = frames.runs, np.cumsum(frames.runs["count"], dtype=np.int64)
    run = np.searchsorted(ends, index, "right")
    local = index - (ends - runs["count"])[run]
    offsets = runs["start"][run] + runs["stride"][run] * local - before
    headers = np.zeros((len(index), size), np.uint8)
    files = runs["file"][run]
    bounds = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(index)]
    for a, b in itertools.pairwise(bounds if len(index) else ()):
        backends.read_pieces_at(frames.files[files[a]], offsets[a:b].tolist(), headers[a:b])
    return headers
