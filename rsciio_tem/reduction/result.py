# SPDX-License-Identifier: GPL-3.0-or-later
"""What `rsciio_tem.reduce` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Reduced"]

# ---------------------------------------------------------------- for users


@dataclass(repr=False)
class Reduced(Mapping[str, npt.NDArray[Any]]):
    """Results of `reduce` by name: a mapping of arrays that knows their axes.

    Maps of the scan have the scan's shape ("com" and "masks" have one more axis before it),
    patterns have the frame's shape. Named virtual detectors are also available under their names,
    and so is what functions returned; `signal_dims` says how many of its axes are not of the scan.
    """

    values_by_name: dict[str, npt.NDArray[Any]]
    axes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    signal_dims: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        try:
            return self.values_by_name[name]
        except KeyError:
            raise KeyError(f"there is no {name!r}, but {', '.join(map(repr, self))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        lines = []
        for name, values in self.items():
            axes = ", ".join(str(axis.get("name") or "?") for axis in self.axes.get(name, ()))
            kind = f"{values.dtype} {values.shape}"
            lines.append(f"  {name}: {kind}" + (f", axes {axes}" if axes else ""))
        return "\n".join(["Reduced", *lines])

    def signal(self, name: str) -> dict[str, Any]:
        """Return one result as RosettaSciIO's readers return signals."""
        dims = np.ndim(self[name]) - self.signal_dims.get(name, 2)
        axes = [
            {**axis, "index_in_array": i, "navigate": i < dims}
            for i, axis in enumerate(self.axes[name])
        ]
        general = {**self.metadata.get("General", {}), "title": name}
        return {
            "data": np.asarray(self[name]),
            "axes": axes,
            "metadata": {**self.metadata, "General": general, "Signal": {"signal_type": ""}},
            "original_metadata": {},
        }
