#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# LiberTEM 0.16.0 sums up Merlin recordings of one-bit RAW frames (R64, counter depth 1) only if their number
# suits it: 512, 1024, 1536, 2048 and 3072 frames of 256 x 256 pixels are right, 10, 500, 1023, 1025 and 3000
# end in an AssertionError without a message, raised while the file is opened for reading ("skip_end >= 0").
# Opening the data set and its shape are right in all cases. Who measures with it has to know.
# Seen 2026-12-01: "500 frames: shape (500, 256, 256), AssertionError; 512 frames: shape (512, 256, 256), right"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "libertem==0.16.0" "numpy==2.4.6"
cat > look.py <<'PY'
import libertem.api as lt
import numpy as np
from libertem.udf.sumsigudf import SumSigUDF

HEADER = (
    "MQ1,{:06d},00384,01,0256,0256,R64,   1x1,01,2024-05-07 00:00:00.000000,0.001000,0,0,0,"
    + "0," * 35
    + "MQ1A,2024-05-07T00:00:00.000000000Z,1000000ns,1,"
)
context, told = lt.Context.make_with("inline"), []
for count in (500, 512):
    bits = np.random.default_rng(count).integers(0, 256, (count, 8192), np.uint8)
    with open(f"{count}.mib", "wb") as file:
        for number, frame in enumerate(bits, 1):
            file.write(HEADER.format(number).encode().ljust(384, b"\0") + frame.tobytes())
    with open(f"{count}.hdr", "w") as file:
        file.write(
            f"HDR,\nFrames in Acquisition (Number):\t{count}\nFrames per Trigger (Number):\t{count}\n"
            "Counter Depth (number):\t1\nEnd\n"
        )
    data = context.load("mib", path=f"{count}.hdr", nav_shape=(count,))
    try:
        sums = context.run_udf(data, SumSigUDF())["intensity"].data
        right = np.array_equal(sums, np.unpackbits(bits, axis=1).sum(axis=1))
        outcome = "right" if right else "wrong"
    except Exception as error:
        outcome = type(error).__name__
    told.append(f"{count} frames: shape {tuple(data.shape)}, {outcome}")
print("; ".join(told))
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "500 frames: shape (500, 256, 256), AssertionError; 512 frames: shape (512, 256, 256), right"
