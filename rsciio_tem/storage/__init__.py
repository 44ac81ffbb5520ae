# SPDX-License-Identifier: GPL-3.0-or-later
"""Where bytes come from: files, what belongs together, and the machine they are read on."""
