# SPDX-License-Identifier: GPL-3.0-or-later
"""What the XML beside a sequence, and the settings in its .metadata, say of the recording."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsciio_tem.errors import Problems
from rsciio_tem.parsing.metadata import general, put
from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis


@dataclass(frozen=True)
class Camera:
    """The XML, and the camera's settings for the first image; empty where there are none."""

    tree: Mapping[str, Any]
    settings: Mapping[str, Any]

    def value(self, name: str) -> str | None:
        """Return a value of the XML's FileInfo."""
        info = self.tree.get("FileInfo")
        entry = info.get(name) if isinstance(info, Mapping) else None
        value = entry.get("Value") if isinstance(entry, Mapping) else None
        return None if value is None else str(value).strip()

    def whole(self, name: str) -> int | None:
        """Return a whole number of the XML's FileInfo that is not negative."""
        number = to_number(self.value(name))
        return int(number) if number is not None and 0 <= number < 1 << 31 else None

    def either(self, name: str, setting: str) -> int:
        """Return a whole number of the XML, or of the camera's settings if it is not there."""
        number = self.whole(name)
        return int(self.settings.get(setting, 0)) if number is None else number

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; the header of the sequence tells another number."""
        rates = (to_number(v) for v in (self.value("FrameRate"), self.settings.get("frame_rate")))
        return next((rate for rate in rates if rate is not None and rate > 0), None)

    def signal_axes(self, problems: Problems) -> tuple[Axis, Axis]:
        """Calibrate the frames, if anything does."""
        scale, units = self._pixel_size()
        if units:
            problems.warn(
                f"the size of a pixel, {scale:g} {units}, comes from the camera's settings; their "
                "units are not documented.",
            )
        return Axis("height", units, scale), Axis("width", units, scale)

    def _pixel_size(self) -> tuple[float, str]:
        diffraction = to_number(self.settings.get("diffraction_pixel_size"))
        length = to_number(self.settings.get("camera_length"))
        direct = to_number(self.value("PixelSize")) or to_number(self.settings.get("pixel_size"))
        if diffraction and diffraction > 0 and length and length > 0:
            return diffraction, "1/nm"
        if direct and direct > 0:
            return direct, "nm"
        magnification = to_number(self.value("Mag"))
        scale, units = 1.0, ""
        for entry in elements(self.tree.get("PixelSize"), "Property"):
            value = to_number(entry.get("Value"))
            if magnification and to_number(entry.get("Mag")) == magnification and value:
                scale, units = value, "nm"
        return scale, units

    def compare_sizes(self, shape: tuple[int, ...], problems: Problems) -> None:
        """Tell if the XML describes frames of another size."""
        rows, columns = self.whole("ImageSizeY"), self.whole("ImageSizeX")
        if not rows or not columns:
            return
        binning = (self.whole("ImageBinning") or 1) * (self.whole("SWBinning") or 1)
        sizes = [(rows, columns), (rows // binning, columns // binning)]
        if shape not in sizes and shape[::-1] not in sizes:
            problems.warn(
                f"the XML describes frames of {rows} x {columns} pixels, these have "
                f"{shape[0]} x {shape[1]}.",
                "Check whether it belongs to this recording.",
            )

    def metadata(self, path: str, time_ns: int) -> dict[str, Any]:
        """Return RosettaSciIO's metadata of a recording that began at a time, -1 if unknown."""
        moment = None
        if time_ns >= 0:
            moment = datetime.datetime.fromtimestamp(time_ns // 10**9, datetime.UTC)
            moment = moment.replace(microsecond=time_ns // 1000 % 10**6)
        tree = {"General": general(path, moment=moment), "Signal": {"signal_type": ""}}
        tem, voltage = "Acquisition_instrument.TEM", to_number(self.value("HT"))
        put(tree, f"{tem}.Detector.Camera.name", self.value("CameraType") or None)
        put(tree, f"{tem}.beam_energy", voltage if voltage and voltage > 0 else None)
        put(tree, f"{tem}.frames_per_second", self.frame_rate)
        return tree


def elements(tree: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the elements of a name within another, however many there are."""
    if not isinstance(tree, Mapping):
        return []
    entries = tree.get(f"{name}_list", [tree[name]] if name in tree else [])
    return [entry for entry in entries if isinstance(entry, Mapping)]
