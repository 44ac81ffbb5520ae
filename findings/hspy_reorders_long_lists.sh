#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# HyperSpy 2.5.0 with RosettaSciIO 0.15.0 saves a list of lists in the metadata, as DigitalMicrograph's tags
# have them (colour tables, processing histories, tilts with their positions), as a group with a member for
# each: "0", "1", ... It reads the members in the order of their names as text, so that a list of more than
# ten entries comes back in another order, without a word: 0, 1, 10, 11, 2, ... Lists of up to ten, and flat
# lists, come back as they were.
# Seen 2026-11-30: "[0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9] ten: True flat: True"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "hyperspy==2.5.0" "rosettasciio==0.15.0" "h5py==3.16.0" "numpy==2.4.6"
cat > look.py <<'PY'
import hyperspy.api as hs
import numpy as np

hs.preferences.GUIs.warn_if_guis_are_missing = False
signal = hs.signals.Signal1D(np.zeros(3))
tilts = [[number, 2.5 * number] for number in range(12)]
signal.original_metadata.add_dictionary(
    {"tilts": tilts, "ten": tilts[:10], "flat": list(range(12))}
)
signal.save("tilts.hspy")
tree = hs.load("tilts.hspy").original_metadata
ten = [list(map(float, entry)) for entry in tree.ten] == [list(map(float, e)) for e in tilts[:10]]
flat = list(tree.flat) == list(range(12))
print([int(entry[0]) for entry in tree.tilts], "ten:", ten, "flat:", flat)
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "[0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9] ten: True flat: True"
