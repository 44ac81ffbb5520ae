# SPDX-License-Identifier: GPL-3.0-or-later
"""What hatchling asks for when the package is built or installed: its entry points."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class EntryPoints(MetadataHookInterface):
    """Makes the entry points from the rows of the registry."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field that ``pyproject.toml`` leaves to us."""
        # by itself: nothing that the package needs is installed yet
        registry = runpy.run_path(str(Path(self.root, "rsciio_tem", "registry.py")))
        metadata["entry-points"] = {
            # HyperSpy imports the parent package of a dotted extension name when it starts; that
            # import registers the readers. The extension itself adds nothing to HyperSpy.
            "hyperspy.extensions": {"rsciio_tem._hyperspy": "rsciio_tem._hyperspy"},
            # One entry per format, so that programs can list the readers without importing us.
            "rosettasciio.plugins": {row.name: row.module for row in registry["FORMATS"].values()},
            # How zarr 2 and zarr 3 find what decodes the frames of reference files.
            "numcodecs.codecs": {"rsciio_tem.frames": "rsciio_tem.tools.frames_codec:FramesCodec"},
            # VirtualiZarr makes the second name of the codec in a store of version 2.
            "zarr.codecs": {
                name: "rsciio_tem.tools.zarr_codec:FramesCodec"
                for name in ("rsciio_tem.frames", "numcodecs.rsciio_tem.frames")
            },
        }
