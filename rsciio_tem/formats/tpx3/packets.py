# SPDX-License-Identifier: GPL-3.0-or-later
"""What the packets of a file say about it, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rsciio_tem.errors import Problem
from rsciio_tem.formats.tpx3.cuts import TICKS
from rsciio_tem.formats.tpx3.index import EDGES, Index
from rsciio_tem.parsing.checks import counted

__all__ = ["damage", "description", "unknown_packets"]

#: Kinds of packets by their first byte; hits and triggers have several.
_KINDS = {
    **{0xB0 + i: "hits" for i in range(16)},
    **{0xA0 + i: "integrated_hits" for i in range(16)},
    **{0x60 + i: "triggers" for i in (0xA, 0xB, 0xE, 0xF)},
    0x44: "global_time",
    0x45: "global_time",
    0x50: "packet_counters",
    0x51: "extra_timestamps",
    0x21: "extra_timestamps",
    0x5A: "shutter_closed",
    0x5C: "heartbeats",
    0x5F: "shutter_opened",
    0x71: "control",
    0x72: "control",
}


def description(index: Index) -> dict[str, Any]:
    """Return what the packets say, for ``original_metadata``."""
    packets: dict[str, int] = {}
    for kind in np.flatnonzero(index.kinds).tolist():
        name = _KINDS.get(kind, "unknown")
        packets[name] = packets.get(name, 0) + int(index.kinds[kind])
    first, last = index.span
    return {
        "packets": packets,
        "chips": {
            str(chip): {"chunks": int(index.chunks_of[chip]), "hits": int(index.hits_of[chip])}
            for chip in np.flatnonzero(index.chunks_of).tolist()
        },
        "triggers": {
            name: {str(chip): count for chip, count in index.reported(edge).items()}
            for edge, name in enumerate(EDGES)
            if index.reported(edge)
        },
        # by the clock of the camera, as far as its counters tell
        "first_hit_s": (first + index.shift) / TICKS,
        "last_hit_s": (last - 1 + index.shift) / TICKS,
    }


def damage(index: Index) -> Iterator[Problem]:
    """Say what is wrong with the chunks."""
    from rsciio_tem.kernels.timepix3 import CUT, DAMAGED, NOT_FINE, ODD, STRAY

    counts = index.counts.tolist()
    if counts[CUT]:
        yield Problem(
            "warning",
            f"ends within a chunk of packets, {counted(counts[CUT], 'packet')} early. What is "
            "there is read; the last frames may lack hits.",
            "The recording was interrupted, or the file was not copied completely.",
        )
    if counts[DAMAGED]:
        yield Problem(
            "warning",
            f"no other chunk begins behind {counted(counts[DAMAGED], 'chunk')} of packets: "
            "data were lost. What is left is read.",
        )
    if counts[STRAY] or counts[ODD]:
        yield Problem(
            "warning",
            f"bytes that are no part of a packet are left out: {counts[STRAY] + counts[ODD]}.",
        )
    if index.jumps:
        yield Problem(
            "warning",
            f"the clock jumps {counted(index.jumps, 'time')}: nothing was recorded for more than a "
            "second, or triggers and hits have different clocks. Gaps of more than 20 s may be "
            "taken for shorter ones.",
        )
    if (some := int(index.kinds[0xA0:0xB0].sum())) and index.hits.sum():
        yield Problem(
            "warning",
            f"packets of the camera's counting mode, which have no times, are left out: {some}.",
        )
    if counts[NOT_FINE]:
        yield Problem(
            "info",
            f"the times of triggers without a fine time are known to 3 ns: {counts[NOT_FINE]}.",
        )


def unknown_packets(index: Index) -> Iterator[Problem]:
    """Name the kinds of packets that are not known."""
    unknown = [kind for kind in np.flatnonzero(index.kinds).tolist() if kind not in _KINDS]
    if unknown:
        count = int(index.kinds[unknown].sum())
        names = ", ".join(f"0x{kind:02x}" for kind in unknown[:20])
        yield Problem(
            "warning",
            f"packets of kinds that are not known are left out: {count}, of the kinds {names}"
            + (", ..." if len(unknown) > 20 else "."),
        )
