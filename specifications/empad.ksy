# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: empad
  title: EMPAD raw data, first generation
  file-extension: raw
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  The data file of a recording of the Electron Microscope Pixel Array Detector, first generation.
  It has no header: frames follow each other until the end of the file. The shape of the scan is in
  the .xml beside it (see empad_xml.md).

  Data files of the second generation (EMPAD-G2) have no footer: each frame is 128 x 128 words of
  32 bits. Exported, these are floating-point pixels. As acquired, bits 0-13 of a word are the
  analog value, bits 14-29 the counter, bit 30 is always set, bit 31 is the gain flag.
doc-ref: https://hyperspy.org/rosettasciio/supported_formats/empad.html

seq:
  - id: frames
    type: frame
    repeat: expr
    repeat-expr: num_frames
    doc: The frames, fast scan axis first. A rest shorter than a frame is not one.

instances:
  num_frames:
    value: _io.size / 66560
    doc: Number of complete frames.

types:
  frame:
    seq:
      - id: pixels
        size: 65536
        doc: 128 x 128 floating-point pixels of 4 bytes, rows one after the other.
      - id: footer
        size: 1024
        doc: |
          256 floating-point numbers. According to a single source, numbers 140 to 143 count scan
          positions.
