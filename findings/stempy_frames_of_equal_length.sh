#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# stempy 3.6.0 with h5py 3.16.0 cannot save counted data in which all frames have the same number of electrons,
# such as a single frame: h5py takes the lists of equal length for an array of two axes. Lists of different
# lengths are saved.
# Seen 2026-11-30: "equal: TypeError: Can't broadcast (6, 3) -> (6,) different: saved"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "stempy==3.6.0" "h5py==3.16.0" "numpy==2.4.6"
cat > look.py <<'PY'
import numpy as np
from stempy.io import SparseArray


def save(name, lengths):
    events = np.empty((6, 1), object)
    for i, length in enumerate(lengths):
        events[i, 0] = np.arange(length, dtype="u4")
    try:
        SparseArray(events, (2, 3), (4, 4)).write_to_hdf5(name)
    except TypeError as error:
        return f"TypeError: {error}"
    return "saved"


print("equal:", save("a.h5", [3] * 6), "different:", save("b.h5", [3, 1, 4, 1, 5, 9]))
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "equal: TypeError: Can't broadcast (6, 3) -> (6,) different: saved"
