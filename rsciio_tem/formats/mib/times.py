# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, times, exposures and counters from the headers of many frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.formats.mib.header import COUNTER, EXPOSURE, LOCAL_TIME, Header
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.text import value_of
from rsciio_tem.scan.frame_headers import (
    decimals,
    integers,
    moments,
    read_headers,
    read_headers_at,
)
from rsciio_tem.scan.times import FrameTimes, Times

#: Headers decoded at a time.
_BATCH = 4096


@dataclass(frozen=True)
class MerlinTimes:
    """Reads sequence numbers, times, exposures and counters from the headers of frames."""

    frames: FrameTable
    size: int  # bytes of a header

    def __call__(self, first: int, last: int) -> FrameTimes:
        """Read the times of stored frames first..last."""
        parts = [
            frame_times(read_headers(self.frames, a, min(a + _BATCH, last), self.size, self.size))
            for a in range(first, max(last, first + 1), _BATCH)
        ]
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return FrameTimes(*(np.concatenate(column) for column in columns))

    def at(self, index: npt.NDArray[np.int64]) -> FrameTimes:
        """Read the times of some stored frames."""
        return frame_times(read_headers_at(self.frames, index, self.size, self.size))


def frame_times(text: npt.NDArray[np.uint8]) -> FrameTimes:
    """Decode the numbers that change from frame to frame, for many headers at once.

    Parameters
    ----------
    text : ndarray of uint8, shape (frames, header bytes)

    Returns
    -------
    FrameTimes
        -1 where a header does not say.
    """
    n = len(text)
    result = FrameTimes(*(np.full(n, -1, np.int64) for _ in range(4)))
    if n:
        changing = _changing(text)
        if _alike(text, changing):
            _decode_alike(text, slice(None), np.flatnonzero(text[0] == ord(",")), result, changing)
            return result
    commas = text == ord(",")
    remaining = np.arange(n)
    # Headers of one recording differ in their digits, hardly ever in where the commas are: all
    # headers laid out like the first remaining one are decoded together.
    for _ in range(64):
        if not len(remaining):
            break
        example = remaining[0]
        alike = (commas[remaining] == commas[example]).all(axis=1)
        same, remaining = remaining[alike], remaining[~alike]
        _decode_alike(text, same, np.flatnonzero(commas[example]), result)
    return result


def _alike(text: npt.NDArray[np.uint8], changing: npt.NDArray[np.int64]) -> bool:
    """Whether the commas are at the same places in all headers, looking where these differ."""
    if not len(changing):
        return True
    firsts = np.flatnonzero(np.diff(changing, prepend=-2) > 1)
    for a, b in zip(changing[firsts], changing[[*(firsts[1:] - 1), -1]] + 1, strict=True):
        commas = text[:, a:b] == ord(",")
        if (commas != commas[0]).any():
            return False
    return True


def _changing(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the columns in which, or beside which, not all headers are equal."""
    if text.shape[1] % 8 or not text.flags.c_contiguous:
        return np.flatnonzero((text != text[0]).any(axis=0))
    words = text.view(np.uint64)  # eight bytes at once
    return np.flatnonzero(np.repeat((words != words[0]).any(axis=0), 8))


def _decode_alike(
    text: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64] | slice,
    commas: npt.NDArray[np.int64],
    result: FrameTimes,
    changing: npt.NDArray[np.int64] | None = None,
) -> None:
    starts = [0, *(commas + 1).tolist()]
    stops = [*commas.tolist(), text.shape[1]]
    block = text[rows]
    first = bytes(block[0])

    def column(i: int) -> npt.NDArray[np.uint8]:
        """Return an entry of all headers, or of the first one where it is the same in all."""
        if i >= len(starts):
            return block[:, :0]
        entry = block[:, starts[i] : stops[i]]
        if changing is None:
            return entry
        before, behind = np.searchsorted(changing, (starts[i], stops[i]))
        return entry if before < behind else entry[:1]

    if first[:4] in (b"12B,", b"24B,"):
        result.sequence[rows] = integers(column(1))
        result.time_ns[rows] = moments(_iso(column(3)))
        result.exposure_ns[rows] = decimals(column(4), 1_000_000)
        return
    if first[:3] != b"MQ1" or len(starts) <= EXPOSURE:
        return
    result.sequence[rows] = integers(column(1))
    result.counter[rows] = integers(column(COUNTER))
    moment = None
    exposure = decimals(column(EXPOSURE), 1_000_000_000)
    for i in range(len(starts) - 2, EXPOSURE, -1):
        if first[starts[i] : stops[i]] == b"MQ1A":
            moment = moments(column(i + 1))
            exact = column(i + 2)
            digits = exact.shape[1]
            while digits and not ord("0") <= exact[0, digits - 1] <= ord("9"):
                digits -= 1  # the unit: ns, or nS in 2015
            exact_ns = integers(exact[:, :digits]) if 0 < digits < 19 else exposure
            exposure = np.where(exact_ns >= 0, exact_ns, exposure)
            break
    result.time_ns[rows] = moments(_iso(column(LOCAL_TIME))) if moment is None else moment
    result.exposure_ns[rows] = exposure


def _iso(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn columns of dd/mm/yyyy hh:mm:ss into yyyy-mm-dd; software before 2018 wrote them."""
    if text.shape[1] >= 19 and text[0, 2] == ord("/"):
        order = [6, 7, 8, 9, 2, 3, 4, 5, 0, 1, *range(10, text.shape[1])]
        return text[:, order]
    return text


def recording_times(header: Header, reader: MerlinTimes, hdr: dict[str, str] | None) -> Times:
    """Return the access to the times of a recording."""
    start = value_of(hdr or {}, "Trigger Start")
    return Times(
        len(reader.frames),
        reader,
        # of MQ1A, of the local time, of the headers of 2015
        resolution_ns=100 if header.utc else 2000 if "." in header.local_time[-7:-6] else 1_000_000,
        external_trigger=None if not start else "internal" not in str(start).lower(),
        remote=any(file.origin is not None for file in reader.frames.files[:1]),
        scattered=4 * len(reader.frames.files) > len(reader.frames),
        software_trigger="soft" in str(start or "").lower(),
        at=reader.at,
    )


def images_per_position(
    header: Header, hdr: dict[str, str] | None, reader: MerlinTimes, problems: Problems
) -> int:
    """Count the images taken at each position: one per colour or active counter.

    Continuous recording also alternates between the counters, but there each image is another
    moment; the .hdr calls this "Alternating".
    """
    count = len(reader.frames)
    active = str(value_of(hdr or {}, "Active Counters") or "").lower()
    if "alternat" in active or count < 2:
        return 1
    if not header.colour and hdr and "&" not in active:
        return 1
    first = reader(0, min(count, 16))
    cycle = len(np.unique(first.counter))
    if cycle < 2 or not np.array_equal(first.counter[cycle:], first.counter[:-cycle]):
        return 1
    if not header.colour and not hdr and not _in_pairs(first.time_ns):
        problems.warn(
            "frames alternate between two counters; without a .hdr they are taken to be a plain "
            "series (continuous readout).",
            "Pass layers=2 if both counters were read for each position.",
        )
        return 1
    if count % cycle:
        problems.warn(f"{count} frames are not a multiple of {cycle} counters per position.")
    return cycle


def _in_pairs(time_ns: npt.NDArray[np.int64]) -> bool:
    """Whether the frames come two by two, with longer breaks between the pairs."""
    steps = np.diff(time_ns[: 2 * (len(time_ns) // 2)])
    inside, between = steps[::2], steps[1::2]
    return bool(len(between)) and bool(inside.max() < 0.5 * between.min())
