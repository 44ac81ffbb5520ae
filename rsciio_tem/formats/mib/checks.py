# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` looks at in every header."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.formats.mib.header import LAST_NUMBER
from rsciio_tem.formats.mib.times import MerlinTimes
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.checks import number_ranges, numbering
from rsciio_tem.parsing.text import to_number, value_of
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.frame_headers import read_headers
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends

#: Fields at the beginning of a header that must be the same in all of a recording.
_CONSTANT = {
    2: "header size",
    3: "number of chips",
    4: "columns",
    5: "rows",
    6: "pixel type",
    7: "layout",
    8: "chip mask",
}


def _every_header(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare what all headers have to have in common."""
    assert recording.times is not None
    reader = recording.times.read
    assert isinstance(reader, MerlinTimes)
    frames, count = reader.frames, recording.count
    first = bytes(read_headers(frames, 0, 1, reader.size, reader.size)[0])
    kind = first.partition(b",")[0]
    fields = first.split(b",")
    ends = np.cumsum([len(field) + 1 for field in fields]) - 1
    size = int(ends[min(8, len(ends) - 1)])
    example = np.frombuffer(first[:size], np.uint8)
    headless: list[npt.NDArray[np.int64]] = []
    other: dict[int, list[npt.NDArray[np.int64]]] = {}
    for a in range(0, count, 1 << 16):
        text = read_headers(frames, a, min(a + (1 << 16), count), reader.size, size)
        differs = text != example
        lacking = differs[:, : len(kind) + 1].any(axis=1)
        headless.append(np.flatnonzero(lacking) + a)
        for i in _CONSTANT if kind == b"MQ1" else ():
            if i < len(ends) and ends[i] <= size:
                wrong = differs[:, int(ends[i - 1]) + 1 : int(ends[i])].any(axis=1) & ~lacking
                if wrong.any():
                    other.setdefault(i, []).append(np.flatnonzero(wrong) + a)
    lost = np.concatenate(headless)
    if len(lost):
        yield Problem(
            "error",
            f"{len(lost)} of {count} frames do not begin with a header: {number_ranges(lost)}. "
            + _displaced(frames, reader.size, int(lost[0]), kind),
            "The pixels of these frames were not measured. Copy the recording again; last_frame= "
            "leaves out what follows the damage.",
            "every header",
        )
    for i, parts in other.items():
        wrong = np.concatenate(parts)
        header = read_headers(frames, int(wrong[0]), int(wrong[0]) + 1, reader.size, size)
        field = header[0, int(ends[i - 1]) + 1 : int(ends[i])]
        unusual = bytes(field).strip().decode("latin-1")
        usual = fields[i].strip().decode("latin-1")
        yield Problem(
            "error",
            f"{len(wrong)} of {count} frames have another {_CONSTANT[i]} in their headers than the "
            f"first one, {unusual} instead of {usual}: {number_ranges(wrong)}.",
            "They cannot be read like the others: are these several recordings in one file?",
        )


def _displaced(frames: FrameTable, size: int, lost: int, kind: bytes) -> str:
    """Say where the header of a frame is instead of where it should be."""
    before = frames[max(0, lost - 1) : lost + 1]
    span = list(before.spans())[-1]
    file, stride = frames.files[span.file], span.stride
    expected = span.start + (span.count - 1) * stride - size
    begin = max(0, expected - stride + len(kind) + 1)
    length = min(file.size - begin, 3 * stride)
    content = bytes(backends.read(file, begin, length, "buffered"))
    match = re.search(re.escape(kind) + rb",\s*\d+,", content)
    if match is None:
        return "There is none within the next frames either: they were never written, or lost."
    next_header = begin + match.start()
    apart = next_header - expected
    return (
        f"The one of frame {lost} should be at byte {expected}, the next is at {next_header}: "
        + (f"{-apart} bytes are missing" if apart < 0 else f"{apart} bytes are too many")
        + " before it."
    )


def _every_number(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Follow the sequence numbers, and the counters of colour layers."""
    if seen is None:
        return
    layers = recording.layers
    groups = seen.sequence[: recording.count // layers * layers].reshape(-1, layers)
    shared = layers > 1 and bool((groups == groups[:, :1]).all())
    yield from numbering(groups[:, 0] if shared else seen.sequence, modulo=LAST_NUMBER)
    cycle = seen.counter[:layers]
    wrong = np.flatnonzero(seen.counter != np.resize(cycle, recording.count))
    if layers == 1 and recording.original_metadata["mib_header"]["colour_mode"] and len(wrong):
        yield Problem(
            "warning",
            "the camera was in colour mode, but the counters in the headers do not take turns: "
            f"they begin with {', '.join(map(str, seen.counter[:16].tolist()))}.",
            "Frames are read as a plain series; pass layers= if you know the number.",
        )
    if layers > 1 and len(wrong):
        yield Problem(
            "warning",
            f"the {layers} counters of each position do not take turns from frame {wrong[0]} on: "
            f"it is of counter {seen.counter[wrong[0]]} instead of {cycle[wrong[0] % layers]}.",
            "Layers are mixed up from there on; pass last_frame= to leave that out.",
        )


def _against_hdr(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare the recording with its .hdr."""
    hdr = recording.original_metadata.get("hdr_file")
    if not hdr:
        yield Problem(
            "info",
            "there is no .hdr beside it, which says how many frames were asked for.",
            "Keep it with the recording if the camera computer has one.",
        )
        return
    header = recording.original_metadata["mib_header"]
    depth = to_number(value_of(hdr, "Counter Depth"))
    if depth and header["counter_depth"] and depth != header["counter_depth"]:
        yield Problem(
            "warning",
            f"the .hdr says {int(depth)} bits of counter depth, the frames "
            f"{header['counter_depth']}.",
            "It may belong to another recording.",
        )


CHECKS = (_every_header, _every_number, _against_hdr)
