#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# tpx3awkward 0.1.0 gives triggers only the fraction of 25 ns of their time, if a file has no packets of the
# global time (0x44, 0x45): a trigger at 10 ms is told to be at 1.3 ns. With such packets before it, it is right.
# Seen 2026-11-30: "with global time: 10000001.302 without: 1.302"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "tpx3awkward==0.1.0"
cat > look.py <<'PY'
import contextlib
import io

import numpy as np
from tpx3awkward.processing.decoding import decode_tpx3_binary

MAGIC = int.from_bytes(b"TPX3", "little")


def chunk(*words):
    return [len(words) * 8 << 48 | MAGIC, *words]


toa = 400_000  # steps of 25 ns: 10 ms
hits = [0xB << 60 | (toa + i & 0x3FFF) << 30 | 5 << 20 | toa + i >> 14 for i in range(20)]
trigger = 0x6F << 56 | toa * 8 << 9 | 6 << 5  # 5 steps of 0.26 ns behind it
time = [0x44 << 56 | toa << 16, 0x45 << 56]


def decoded(words):
    with contextlib.redirect_stdout(io.StringIO()):
        _, triggers = decode_tpx3_binary(np.array(words, "u8"), tdc=True)
    return f"{triggers['tdc_t_ns'].iloc[0]:.3f}"


without = chunk(*hits, trigger)
print("with global time:", decoded(chunk(*time) + without), "without:", decoded(without))
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "with global time: 10000001.302 without: 1.302"
