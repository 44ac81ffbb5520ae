# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames are arranged: times and headers as evidence, hints, the mapping, the decision."""

from rsciio_tem.scan.scan import Scan, ScanHint, ScanRequest

__all__ = ["Scan", "ScanHint", "ScanRequest"]
