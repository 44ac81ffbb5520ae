# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over the frames: sums, means, virtual detectors, centres of mass."""

from rsciio_tem.reduction.detectors import Annulus, Disk
from rsciio_tem.reduction.result import Reduced
from rsciio_tem.reduction.single_pass import one_pass

__all__ = ["Annulus", "Disk", "Reduced", "one_pass"]
