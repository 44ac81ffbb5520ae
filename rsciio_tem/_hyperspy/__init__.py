# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery hook: HyperSpy looks for this module and thereby imports `rsciio_tem`."""
