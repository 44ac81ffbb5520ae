# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` compares with .metadata and .xml."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.seq.metadata_file import open_metadata
from rsciio_tem.formats.seq.sequence import read_sequence
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import files


def _against_metadata(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare each sequence with the metadata beside it, which has a unit for every image."""
    del seen
    for path in recording.files:
        if not path.lower().endswith(".seq.metadata"):
            continue
        name, sequence_path = os.path.basename(path), path[: -len(".metadata")]
        metadata = open_metadata(path, Problems())
        if metadata is None or not files.is_file(sequence_path):
            continue
        listed = int(metadata.header["unit_count"])
        stored = read_sequence(sequence_path, False, Problems()).count
        text = (
            f"{name} describes {listed} images, {os.path.basename(sequence_path)} holds {stored}."
        )
        if listed > stored:
            yield Problem("warning", text, "The recording was cut, or images were lost.")
        elif listed < stored:
            yield Problem("info", text)
        size = int(metadata.header["unit_size"])
        whole = (metadata.file.size - metadata.start) // size if size else listed
        if whole < listed:
            yield Problem("warning", f"{name} ends after {whole} of the {listed} images it lists.")


def _against_xml(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell which of the usual files of a Direct Electron camera are not there."""
    del seen
    if "Configuration" not in recording.original_metadata:
        return
    suffixes = {path.lower()[-9:] for path in recording.files}
    lacking = [name for name in ("dark", "gain") if f".{name}.mrc" not in suffixes]
    if lacking:
        yield Problem(
            "info",
            f"there is no {' and no '.join(f'.seq.{name}.mrc' for name in lacking)} beside it.",
            "Copy them too if the camera computer has them; frames cannot be corrected without.",
        )


CHECKS = (_against_metadata, _against_xml)
