# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers of small valid files, one module per format.

The tests read these files back with the package and compare with what was written. The writers
are therefore made from descriptions of the formats and from recordings of real detectors, share
no code with the package and never import it. ``test_writers.py`` checks the writers themselves
with other programs that read the same formats.
"""
