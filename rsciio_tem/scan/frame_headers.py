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
    value, bad = np.zeros(len(text), np.int64), np.zeros(len(text), np.bool_)
    for column in text.T:
        digit = column - np.uint8(ord("0"))  # of anything else, more than 9
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
    year, month, day, hour, minute, second = (
        integers(text[:, a:b]) for a, b in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
    )
    end = 20
    while end < min(width, 29) and ord("0") <= text[0, end] <= ord("9"):
        end += 1
    fraction = integers(text[:, 20:end]) if end > 20 else np.zeros(n, np.int64)
    good = (year >= 1970) & (month >= 1) & (month <= 12) & (day >= 1) & (fraction >= 0)
    good &= (
        (hour >= 0) & (minute >= 0) & (second >= 0) & (hour < 24) & (minute < 60) & (second < 60)
    )
    month, year = np.clip(month, 1, 12), np.clip(year, 1970, 9999)
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1).astype("m8[M]")
    first_day, next_first = (
        months.astype("M8[D]"),
        (months + np.timedelta64(1, "M")).astype("M8[D]"),
    )
    good &= first_day + (day - 1).astype("m8[D]") < next_first
    days = first_day.astype(np.int64) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    value = seconds * 1_000_000_000 + fraction * 10 ** (29 - end if end > 20 else 0)
    return np.where(good, value, nothing)


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
            backends.read_pieces(file, begin, stride, target)
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
