# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file holds, before any pixel is read."""

from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording

__all__ = ["Axis", "Recording"]
