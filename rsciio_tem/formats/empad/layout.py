# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of the frames of both generations."""

from __future__ import annotations

EDGE = 128  # pixels along the edge of the detector
FOOTER_ROWS = 2  # rows behind the pixels of a first-generation frame
FRAME_G1 = (EDGE + FOOTER_ROWS) * EDGE * 4
FRAME_G2 = EDGE * EDGE * 4
#: Floats 140..143 of the 256 in the footer: scan counters of a frame (a single source).
COUNTERS = 140
