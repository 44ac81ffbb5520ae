#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# LiberTEM 0.16.0: user-defined functions with process_partition end in a bare AssertionError on every
# SER series of several images, and so does make_dask_array: tiles of SER always have one image, whatever
# is asked for, and the runner then finds that the tile is not the partition. The same function as
# process_tile or process_frame works. RosettaSciIO 0.15.0 reads the same file
# (it turns images of SER upside down).
# Seen 2026-12-01: "rosettasciio: equal | process_tile: equal | process_frame: equal | process_partition:
# AssertionError '' | make_dask_array: AssertionError ''"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "libertem==0.16.0" "rosettasciio==0.15.0" "dask==2026.8.0" "numpy==2.4.6"
cat > look.py <<'PY'
import struct

import libertem.api
import numpy as np
from libertem.contrib.daskadapter import make_dask_array
from libertem.udf import UDF
from rsciio.tia import file_reader

FRAMES = np.arange(6 * 8 * 8, dtype="<u2").reshape(6, 8, 8)


def write(path):
    """A series of six images, version 0x210, each with a time."""
    dimension = struct.pack("<iddi", 6, 0.0, 1.0, 0) + struct.pack("<i", 0) + struct.pack("<i", 0)
    begin = 30 + len(dimension)
    element = 50 + FRAMES[0].nbytes
    first = begin + 2 * 4 * 6
    head = struct.pack("<HHHIIiiii", 0x4949, 0x197, 0x210, 0x4122, 0x4152, 6, 6, begin, 1)
    places = [first + i * (element + 8) for i in range(6)]
    with open(path, "wb") as file:
        file.write(head + dimension)
        file.write(np.array(places + [p + element for p in places], "<u4").tobytes())
        for i, frame in enumerate(FRAMES):
            file.write(struct.pack("<ddiddihii", 0, 1, 0, 0, 1, 0, 2, 8, 8) + frame.tobytes())
            file.write(struct.pack("<HHI", 0x4152, 0, 1_700_000_000 + i))


class Tiles(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer(kind="nav", dtype="float32")}

    def process_tile(self, tile):
        self.results.sum[:] += tile.sum(axis=(1, 2))


class Frames(UDF):
    get_result_buffers = Tiles.get_result_buffers

    def process_frame(self, frame):
        self.results.sum[:] = frame.sum()


class Partitions(UDF):
    get_result_buffers = Tiles.get_result_buffers

    def process_partition(self, partition):
        self.results.sum[:] = partition.sum(axis=(1, 2))


def outcome(compute, expected):
    try:
        found = np.asarray(compute())
    except Exception as error:
        return f"{type(error).__name__} {str(error)!r}"
    return "equal" if np.array_equal(found.reshape(expected.shape), expected) else "different"


if __name__ == "__main__":
    write("series.ser")
    context = libertem.api.Context.make_with("inline")
    data = context.load("ser", path="series.ser")
    sums = FRAMES.sum(axis=(1, 2))
    seen = {
        "rosettasciio": outcome(lambda: file_reader("series.ser")[0]["data"][:, ::-1], FRAMES),
        "process_tile": outcome(lambda: context.run_udf(data, Tiles())["sum"].data, sums),
        "process_frame": outcome(lambda: context.run_udf(data, Frames())["sum"].data, sums),
        "process_partition": outcome(lambda: context.run_udf(data, Partitions())["sum"].data, sums),
        "make_dask_array": outcome(lambda: make_dask_array(data)[0].compute(), FRAMES),
    }
    print(" | ".join(f"{name}: {what}" for name, what in seen.items()))
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "rosettasciio: equal | process_tile: equal | process_frame: equal | process_partition: AssertionError '' | make_dask_array: AssertionError ''"
