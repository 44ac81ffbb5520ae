#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# RosettaSciIO 0.15.0 reads a 4-D array of EMD 1.0 (emdfile 0.0.15, the format of py4DSTEM) as a signal of
# four signal axes: no axis navigates, although names and units tell scan (Rx, Ry in nm) from detector
# (Qx, Qy in A^-1). HyperSpy then shows a BaseSignal instead of diffraction patterns at scan positions.
# Seen 2026-11-30: "(2, 3, 4, 5) Rx:False Ry:False Qx:False Qy:False"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "rosettasciio==0.15.0" "emdfile==0.0.15" "h5py==3.16.0" "numpy==2.4.6"
cat > look.py <<'PY'
import os

import emdfile
import numpy as np
from rsciio.emd import file_reader

root = emdfile.Root(name="root")
root.tree(
    emdfile.Array(
        np.arange(2 * 3 * 4 * 5, dtype="u2").reshape(2, 3, 4, 5),
        name="datacube",
        dims=[[0, 2], [0, 2], [0, 0.1], [0, 0.1]],
        dim_names=["Rx", "Ry", "Qx", "Qy"],
        dim_units=["nm", "nm", "A^-1", "A^-1"],
    )
)
emdfile.save("cube.h5", root, mode="o")
os.rename("cube.h5", "cube.emd")
(signal,) = file_reader("cube.emd")
axes = " ".join(f"{axis['name']}:{axis['navigate']}" for axis in signal["axes"])
print(signal["data"].shape, axes)
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "(2, 3, 4, 5) Rx:False Ry:False Qx:False Qy:False"
