# SPDX-License-Identifier: GPL-3.0-or-later
"""Write EMPAD recordings of both generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGE = 128
SCALE = 1.826537060227288e-10
VIEW = (4.8e-6, 4.4e-6)


def raw_bytes(frames: NDArray[Any], counters: tuple[int, int] | None = None) -> bytes:
    """Return first-generation frames (n, 128, 128) with the two rows behind each.

    `counters` are the (columns, lines) of the scan; its positions go into the footers.
    """
    stored = np.full((len(frames), EDGE + 2, EDGE), -7, "<f4")
    stored[:, :EDGE] = frames
    if counters:
        footer = stored[:, EDGE:].reshape(len(frames), 2 * EDGE)
        index = np.arange(len(frames))
        footer[:, 140], footer[:, 141] = index % counters[0], index // counters[0]
    return stored.tobytes()


def g2_words(analog: NDArray[Any], digital: NDArray[Any], high: NDArray[Any]) -> NDArray[np.uint32]:
    """Pack second-generation words: 14 analog bits, 16 counter bits, the marker, the gain flag."""
    word = np.asarray(analog, np.uint32) | (np.asarray(digital, np.uint32) << 14)
    return word | np.uint32(1 << 30) | (np.asarray(high, np.uint32) << 31)


def xml_text(
    raw: str,
    version: str = "0.51",
    *,
    kind: str = "scan",
    size: tuple[int, int] = (4, 3),
    acquire: tuple[int, int] | None = None,
    search: tuple[int, int] | None = (64, 64),
    exposure_ms: float = 2,
) -> str:
    """Return the description of a first-generation recording.

    `size` is (columns, lines), or (frames, 1) for a series; `acquire` and `search` are the
    resolutions of the two scan modes, by default `size` for the first.
    """
    columns, lines = size
    ax, ay = acquire or size
    old = version.startswith("0")
    parts = [
        '<root name="acquisition_1"><timestamp timestamp="1559820600.164675" '
        'isoformat="2019-06-06T13:30:00.164675"/>',
        f"<software_version>{version}</software_version>",
    ]
    if old:
        parts.append(f"<type>{kind}</type>")
        parts.append(
            f"<count>{columns}</count>"
            if kind == "series"
            else f"<pix_x>{columns}</pix_x><pix_y>{lines}</pix_y>"
        )
    parts.append(f'<raw_file filename="{raw}"/><exposure_time>{exposure_ms:g}</exposure_time>')
    parts.append("<camserver_parameters><camserver_inserted>True</camserver_inserted>")
    parts.append("</camserver_parameters>")
    if kind == "series":
        parts.append(f"<scan_parameters><series_count>{columns}</series_count></scan_parameters>")
    else:
        if search:
            parts.append(
                f'<scan_parameters mode="search"><scan_resolution_x>{search[0]}</scan_resolution_x>'
                f"<scan_resolution_y>{search[1]}</scan_resolution_y></scan_parameters>"
            )
        parts.append(
            f'<scan_parameters mode="acquire"><scan_resolution_x>{ax}</scan_resolution_x>'
            f"<scan_resolution_y>{ay}</scan_resolution_y></scan_parameters>"
        )
        if old:
            parts.append(
                "<iom_measurements><optics.get_full_scan_field_of_view>"
                f"[{VIEW[0]}, {VIEW[1]}]</optics.get_full_scan_field_of_view>"
                "<optics.get_cameralength>0.7225</optics.get_cameralength>"
                "<source.get_voltage>300000.0</source.get_voltage>"
                f"<calibrated_pixelsize>{SCALE}</calibrated_pixelsize></iom_measurements>"
            )
        else:
            parts.append(
                "<iom_measurements><full_scan_field_of_view><scale_factor>0.5</scale_factor>"
                f"<x>{VIEW[0]}</x><y>{VIEW[1]}</y></full_scan_field_of_view>"
                "<nominal_camera_length>0.369</nominal_camera_length>"
                "<high_voltage>200000.0</high_voltage></iom_measurements>"
            )
    return "".join([*parts, "</root>"])


def write_empad(
    folder: Path,
    frames: NDArray[Any],
    version: str = "0.51",
    *,
    name: str | None = None,
    stem: str = "scan",
    truncate: int = 0,
    counters: tuple[int, int] | None = None,
    described_as: str | None = None,
    **description: Any,
) -> Path:
    """Write a recording (lines, columns, 128, 128), or a series (n, 128, 128); return the .xml."""
    series = frames.ndim == 3
    size = (len(frames), 1) if series else (frames.shape[1], frames.shape[0])
    name = name or (f"series_x{size[0]}.raw" if series else f"scan_x{size[0]}_y{size[1]}.raw")
    content = raw_bytes(frames.reshape(-1, EDGE, EDGE), counters)
    (folder / name).write_bytes(content[: len(content) - truncate])
    told = {"kind": "series" if series else "scan", "size": size, **description}
    path = folder / f"{stem}.xml"
    path.write_text(xml_text(described_as or name, version, **told))
    return path


def write_g2(
    folder: Path, data: NDArray[Any], *, acquired: bool, declared: str = "float32"
) -> Path:
    """Write a second-generation recording (lines, columns, 128, 128) of words or floats."""
    lines, columns = data.shape[:2]
    (folder / "g2.raw").write_bytes(data.astype("<u4" if acquired else "<f4").tobytes())
    grabber = (
        "<grabber><avg_scan_even_offset>1</avg_scan_even_offset>"
        "<avg_scan_odd_offset>2</avg_scan_odd_offset></grabber>"
        if acquired
        else ""
    )
    path = folder / "g2.xml"
    path.write_text(
        '<root name="g2"><timestamp isoformat="2024-01-02T03:04:05.6"/>'
        "<sensor><type>EMPAD2</type><shape>128, 128</shape></sensor>"
        f"<scan><type>raster</type><shape>{lines}, {columns}</shape>"
        "<exposure_time>0.0001</exposure_time></scan>"
        f"<rawfile><filename>g2.raw</filename><datatype>{declared}</datatype></rawfile>"
        f"{grabber}</root>"
    )
    return path
