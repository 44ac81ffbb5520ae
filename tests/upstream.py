# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO as a witness: which of its versions a test compares with."""

from __future__ import annotations

import pytest
import rsciio
from packaging.version import Version


def needs_rosettasciio(version: str) -> pytest.MarkDecorator:
    """Skip a test where RosettaSciIO is older; its readers were others then, not ours."""
    return pytest.mark.skipif(
        Version(rsciio.__version__) < Version(version),
        reason=f"compares with RosettaSciIO {version} or later",
    )
