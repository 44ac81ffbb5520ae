#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# LiberTEM 0.16.0: make_dask_array (libertem.contrib.daskadapter), the way from its data sets to dask,
# raises a TypeError for every HDF5 data set: the partitions of HDF5 have a get_macrotile of their own
# without the keyword array_backend, which the adapter passes (LiberTEM issue 1664, open since June 2024).
# The same frames as .npy work.
# Seen 2026-11-30: "hdf5: TypeError array_backend: True | npy: equal: True"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "libertem==0.16.0" "h5py==3.16.0" "dask==2026.8.0" "numpy==2.4.6"
cat > look.py <<'PY'
import h5py
import libertem.api
import numpy as np
from libertem.contrib.daskadapter import make_dask_array

if __name__ == "__main__":
    frames = np.arange(2 * 3 * 16 * 16, dtype="u2").reshape(2, 3, 16, 16)
    np.save("scan.npy", frames)
    with h5py.File("scan.h5", "w") as file:
        file["data"] = frames
    context = libertem.api.Context.make_with("inline")
    try:
        make_dask_array(context.load("hdf5", path="scan.h5", ds_path="data"))[0].compute()
        hdf5 = "no error"
    except TypeError as error:
        hdf5 = f"TypeError array_backend: {'array_backend' in str(error)}"
    array, _ = make_dask_array(context.load("npy", path="scan.npy"))
    print(f"hdf5: {hdf5} | npy: equal: {np.array_equal(array.compute(), frames)}")
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "hdf5: TypeError array_backend: True | npy: equal: True"
