# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind of frames of each sample: where its frames are, and how bytes become numbers.

Chunks, slices, regions, ways of reading bytes, navigators, reductions, pickling and the like depend
on the kind alone, so that tests of them are marked with ``per_kind`` and meet the first sample of
each (``pytest --every-sample`` takes them all).
The kinds are looked up in ``samples/kinds.json`` when tests are collected, because they are only
seen once a sample is written. A sample that is not listed there is a kind of its own;
``test_samples.py`` asks for it to be added, which this does::

    python tests/kinds.py
"""

from __future__ import annotations

import json
import tempfile
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from samples import SPECS, Sample, Spec

from rsciio_tem.frames.table import FrameTable
from rsciio_tem.reading.lazy import lazy_source

TABLE = Path(__file__).parent / "samples" / "kinds.json"


def kind_of(sample: Sample) -> str:
    """Describe the frames that a lazy signal of the sample reads."""
    data = sample.read_quietly(lazy=True)["data"]
    source = lazy_source(data)
    words = ["dask" if source is None else _described(source.frames), f"of {data.dtype.kind}"]
    if sample.sig_dims != 2:
        words.append(f"with {sample.sig_dims} axes")
    return " ".join(words)


def _described(frames: Any) -> str:
    """Name the class, what is particular about its pixels, and the frames that it is made of."""
    words = [type(frames).__name__]
    if isinstance(frames, FrameTable):
        pixels = frames.pixels
        words += [pixels.packing] if pixels.packing != "plain" else []
        words += [] if pixels.stored.isnative else ["swapped"]
        words += ["shifted"] if pixels.shift else []
        words += ["tiled"] if pixels.tiles else []
        words += ["repeated"] if pixels.repeat > 1 else []
        words += ["in runs"] if len(frames.runs) > 1 else []
    for name in ("open", "source", "decode"):  # what fetches the values
        if (fetch := getattr(frames, name, None)) is not None:
            words.append(f"by {getattr(fetch, '__name__', type(fetch).__name__)}")
    if getattr(frames, "order", None) is not None:
        words.append("in order")
    parts = getattr(frames, "parts", (frames.frames,) if hasattr(frames, "frames") else ())
    if parts:
        words.append(f"({', '.join(sorted({_described(part) for part in parts}))})")
    return " ".join(words)


def recorded() -> dict[str, str]:
    """Return the kind of each sample in the table."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: kind for kind, names in table.items() for name in names}


def one_of_each_kind(specs: Iterable[Spec]) -> list[Spec]:
    """Return the first of each kind."""
    kinds = recorded()
    first: dict[str, Spec] = {}
    for spec in specs:
        first.setdefault(kinds.get(str(spec), str(spec)), spec)
    return list(first.values())


def main() -> None:
    """Write the table."""
    table: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, spec in enumerate(SPECS):
            here = Path(folder, str(i))
            here.mkdir()
            sample = spec.make(here, np.random.default_rng(zlib.crc32(str(spec).encode())))
            table.setdefault(kind_of(sample), []).append(str(spec))
    text = json.dumps(table, ensure_ascii=False, indent=1, sort_keys=True)
    TABLE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
