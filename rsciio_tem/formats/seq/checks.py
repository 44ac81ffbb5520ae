# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` compares with .metadata and .xml."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rsciio_tem.errors import Problem
from rsciio_tem.formats.seq.layout import _Problems
from rsciio_tem.formats.seq.sequence import _sequence
from rsciio_tem.formats.seq.sides import _metadata_file
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes


def _against_metadata(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare each sequence with the metadata beside it, which has a unit for every image."""
    del seen
    for path in recording.files:
        if not path.lower().endswith(".seq.metadata"):
            continue
        name, sequence_path = os.path.basename(path), path[: -len(".metadata")]
        metadata = _metadata_file(path, _Problems())
        if metadata is None or not os.path.isfile(sequence_path):
            continue
        told = int(metadata.header["unit_count"])
        held = _sequence(sequence_path, False, _Problems()).count
        if told != held:
            yield Problem(
                "warning" if told > held else "info",
                f"{name} describes {told} images, {os.path.basename(sequence_path)} holds {held}.",
                "The recording was cut, or images were lost." if told > held else "",
            )
        size = int(metadata.header["unit_size"])
        whole = (metadata.file.size - metadata.start) // size if size else told
        if whole < told:
            yield Problem("warning", f"{name} ends after {whole} of the {told} images it lists.")


def _against_xml(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell which of the usual files of a Direct Electron camera are not there."""
    del seen
    if "Configuration" not in recording.original_metadata:
        return
    there = {path.lower()[-9:] for path in recording.files}
    lacking = [name for name in ("dark", "gain") if f".{name}.mrc" not in there]
    if lacking:
        yield Problem(
            "info",
            f"there is no {' and no '.join(f'.seq.{name}.mrc' for name in lacking)} beside it.",
            "Copy them too if the camera computer has them; frames cannot be corrected without.",
        )


CHECKS = (_against_metadata, _against_xml)
