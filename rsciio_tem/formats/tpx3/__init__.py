# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of Timepix3 cameras of Amsterdam Scientific Instruments (SPIDR, SERVAL): ``.tpx3``.

The file is the stream of the readout board: a packet for each pixel that was hit, and one for each
edge of a trigger signal. There are no frames in it; triggers, or a dwell time, cut time into them.
``specifications/tpx3.md`` describes the packets, and where this is known from.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Problems, Truncated, Unsupported
from rsciio_tem.formats.tpx3.chips import arrangement_of, shape_of
from rsciio_tem.formats.tpx3.cuts import (
    TICKS,
    Cut,
    chosen_edge,
    decided,
    frame_times,
    lines_of,
    warn_of_doubled,
    warn_of_unended,
)
from rsciio_tem.formats.tpx3.hits import Hits, Values
from rsciio_tem.formats.tpx3.index import EDGES, Index, index_of
from rsciio_tem.formats.tpx3.packets import damage, description, unknown_packets
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.parsing.checks import counted
from rsciio_tem.parsing.metadata import general
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions, SparseKind, sizes
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes, Times
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

MAGIC = b"TPX3"


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the header of the first chunk."""
    return (0.99, "begins with TPX3", {}) if head.startswith(MAGIC) else None


def parse(
    filename: str | os.PathLike[str],
    *,
    trigger: str = "auto",
    dwell_time: float | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    nav_shape: int | tuple[int, ...] | None = None,
    chips: str = "auto",
    values: Values = "counts",
) -> Recording:
    """Describe a recording of events; parameters as in `file_reader`.

    All packets are gone through once, in pieces.

    Returns
    -------
    Recording
    """
    if values not in ("counts", "tot"):
        raise ValueError(f"values={values!r} is neither 'counts' nor 'tot'")
    path = files.existing(filename)
    start = files.read_start(path, 8)
    if not start.startswith(MAGIC):
        raise NotThisFormat(path, "does not begin with TPX3, the header of a chunk.")
    file = DataFile.of(path)
    index = index_of(file)
    edge = chosen_edge(index, trigger, path)
    _require_events(index, path)
    problems = Problems(damage(index))
    shape = _array_order(navigation_shape, nav_shape)
    cut = decided(file, edge, shape, dwell_time, problems)
    lines = lines_of(file, cut)
    if cut.kind in ("triggers", "lines"):
        warn_of_doubled(lines, cut.edge, problems)
    if cut.kind == "triggers" and lines.frames > 1 and not lines.pauses and shape is None:
        problems.info(
            f"each of {lines.frames} triggers ({EDGES[edge]}) is taken for a position of the scan.",
            "If they mark lines, pass navigation_shape= with the positions in a line and these "
            f"{lines.frames} lines.",
        )
    if cut.gated:
        warn_of_unended(file, lines, cut, problems)
    if lines.frames > _MOST:
        raise FormatError(path, f"is cut into {lines.frames} frames.", "dwell_time is in seconds.")
    arrangement = arrangement_of(chips, np.flatnonzero(index.chunks_of).tolist(), path)
    hints = []
    if cut.kind == "lines":
        reason = f"{EDGES[edge]} marks {len(lines.starts)} lines"
        scan = len(lines.starts), lines.positions
        hints.append(ScanHint("trigger", scan, 0.95, reason, exact=True))
    return Recording(
        format="tpx3",
        path=path,
        frames=SparseFrames(
            Hits(file, cut, lines.frames, arrangement, values), shape_of(arrangement)
        ),
        signal_axes=(Axis(), Axis()),
        hints=tuple(hints),
        times=_times(file, cut, lines.frames),
        stack_axis=Axis("time", "s", cut.step / TICKS) if cut.kind == "steps" else None,
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={
            **description(index),
            "frames": {
                "cut": cut.kind,
                "trigger": EDGES[cut.edge] if cut.edge >= 0 else "none",
                "ends_with_opposite_edge": cut.gated,
                "usual_interval_s": lines.usual / TICKS,
                "longer_intervals": lines.pauses,
                "values": values,
                "chips": arrangement,
            },
        },
        files=(path,),
        problems=tuple(problems),
    )


#: Frames at most.
_MOST = 1 << 40


def _array_order(navigation_shape: Any, nav_shape: Any) -> tuple[int, ...] | None:
    """Return the scan shape that is asked for, slowest axis first."""
    if navigation_shape is not None:
        return sizes("navigation_shape", navigation_shape)[::-1]
    return None if nav_shape is None else sizes("nav_shape", nav_shape)


def _require_events(index: Index, path: str) -> None:
    """Raise if there is nothing that frames could be made of."""
    if index.hits.sum() or len(index.times):
        return
    if integrated := int(index.kinds[0xA0:0xB0].sum()):
        raise Unsupported(
            path,
            f"holds frames of the camera's counting mode ({integrated} packets of the kind 0xa), "
            "without the times of single hits.",
            "Let SERVAL write images.",
        )
    raise Truncated(path, f"of {index.begins[-1]} bytes has neither hits nor triggers.")


def _times(file: DataFile, cut: Cut, count: int) -> Times | None:
    """Return access to the times of triggers, if each of them begins a frame."""
    if cut.kind != "triggers" or count < 2:
        return None
    read_times = functools.partial(frame_times, file, cut)
    return Times(count, read_times, resolution_ns=1, external_trigger=True, at=_at(file, cut))


def _at(file: DataFile, cut: Cut) -> Any:
    def times_at(index: Any) -> FrameTimes:
        times = frame_times(file, cut, 0, lines_of(file, cut).frames)
        return FrameTimes(times.time_ns[index], times.exposure_ns[index])

    return times_at


# ---------------------------------------------------------------- checks


def _packets(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Look for packets of kinds that are not known, and for triggers that were lost."""
    del seen
    source = recording.frames
    assert isinstance(source, SparseFrames)
    assert isinstance(source.source, Hits)
    index, cut = index_of(source.source.file), source.source.cut
    yield from unknown_packets(index)
    if cut.edge < 0:
        return
    if gaps := index.triggers(cut.edge, cut.chip).gaps:
        yield Problem(
            "warning",
            f"the numbers of triggers ({EDGES[cut.edge]}) have {counted(gaps, 'gap')} that the "
            "time between them does not explain.",
            "Frames after a gap may be at wrong positions of the scan.",
        )


CHECKS = (_packets,)


@documented
def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    trigger: str = "auto",
    dwell_time: float | None = None,
    chips: str = "auto",
    values: Values = "counts",
    sparse: SparseKind = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read events of a Timepix3 camera as frames.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    trigger : str
        Edge at which a frame begins: "TDC1 rising", "TDC1 falling", "TDC2 rising" or "TDC2
        falling"; "auto" takes the rising edge of TDC1 if there is one, or another that occurs;
        "none" ignores triggers. If there are as many triggers as lines in the scan shape that is
        asked for, each begins a line.
    dwell_time : float
        Seconds that a frame takes at most; without triggers, or with a single one, frames of this
        length follow each other.
    chips : {"auto", "single", "quad", "row"}
        How chips are arranged: one; four in a square; four in a row. "auto" takes a square if there
        is data of a chip other than 0.
    values : {"counts", "tot"}
        Value of a pixel: its hits, or the sum of their times over threshold in units of 25 ns.
    sparse : {False, True, "scipy"}
        Return dense frames; a ``sparse.COO`` of the same shape (blocks of it, if lazy); or a
        ``scipy.sparse.csr_array`` with a row for each position and a column for each pixel.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file does not begin with a chunk of packets.
    Truncated
        It has neither hits nor triggers.
    FormatError
        There are no such triggers, or nothing says when the positions of the scan begin.

    Examples
    --------
    A scan of which each line begins with a trigger:

    >>> s = hs.load("scan.tpx3", lazy=True, navigation_shape=(512, 512))

    Frames of a millisecond, whatever the triggers:

    >>> s = hs.load("scan.tpx3", lazy=True, trigger="none", dwell_time=1e-3)
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        trigger=trigger,
        dwell_time=dwell_time,
        navigation_shape=navigation_shape,
        nav_shape=options.get("nav_shape"),
        chips=chips,
        values=values,
    )
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    recording = replace(recording, frames=frames.widened(options.get("dtype")))
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options, sparse=sparse)
