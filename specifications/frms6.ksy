# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: frms6
  title: pnCCD frames (.frms6)
  file-extension: frms6
  license: GPL-3.0-or-later
  ks-version: 0.9
  encoding: latin-1
  endian: le

doc: |
  Frames of a pnCCD camera of PNDetector or pnSensor, each with a header. A recording is a text
  file NAME.hdr, NAME_000.frms6 with dark frames, and NAME_001.frms6 and so on with the frames of
  the measurement.

  Two halves of the sensor are read out at once and stored side by side. With h rows and w columns
  stored, the image has 2 h rows and w / 2 columns: its upper half is the left half of the stored
  columns, its lower half is the right half turned by 180 degrees, that is
  image[h + j, x] = stored[h - 1 - j, w - 1 - x]. The camera bins rows only; to give pixels their
  shape back, each row is repeated as often as it was binned, which the .hdr says.

  Frames may be windows of fewer rows. Their rows belong to the stored rows from the_start on. No
  recording with windows was seen. Other devices, for example those with four quadrants, arrange
  their pixels in another way.

seq:
  - id: header
    type: header
    doc: Header of the file.
  - id: frames
    type: frame
    repeat: expr
    repeat-expr: header.num_frames
    if: header.num_frames != 0
    doc: Frames of a file that says how many.
  - id: frames_to_end
    type: frame
    repeat: eos
    if: header.num_frames == 0
    doc: Frames of an older file, which go on to its end.

types:
  header:
    seq:
      - id: my_length
        type: u2
        valid: 1024
        doc: Bytes of this header.
      - id: frame_header_length
        type: u2
        valid: 64
        doc: Bytes of a frame header.
      - id: n_ccds
        type: u1
        doc: Sensors that are read out.
      - id: width8
        type: u1
        doc: Width in older versions.
      - id: max_height8
        type: u1
        doc: Height in older versions.
      - id: version
        type: u1
        valid: 6
        doc: Version of the format.
      - id: dataset_id
        size: 80
        doc: Text, padded with NUL.
      - id: width
        type: u2
        doc: Stored columns, those of both halves.
      - id: max_height
        type: u2
        doc: Most rows that a frame has.
      - id: fill
        size: 928
        doc: Unused.
      - id: num_frames
        type: u4
        doc: Frames in this file; 0 in older files.
  frame:
    seq:
      - id: header
        type: frame_header
        doc: Header of the frame.
      - id: pixels
        size: 2 * _root.header.width * rows
        doc: Rows of 16-bit unsigned pixels; counts are less than 2 to the power of 14.
    instances:
      rows:
        value: 'header.the_height != 0 ? header.the_height : _root.header.max_height'
        doc: Rows that are stored.
  frame_header:
    seq:
      - id: start
        type: u1
        doc: First row of the window in older versions.
      - id: info
        type: u1
        doc: Flags.
      - id: ccd_id
        type: u1
        doc: Number of the sensor.
      - id: height8
        type: u1
        doc: Height in older versions.
      - id: tv_sec
        type: u4
        doc: Seconds since 1970-01-01 UTC.
      - id: tv_usec
        type: u4
        doc: Microseconds to add.
      - id: index
        type: u4
        doc: Number of the frame.
      - id: temperature
        type: f8
        doc: Voltage of the temperature sensor.
      - id: the_start
        type: u2
        doc: First stored row of the window.
      - id: the_height
        type: u2
        doc: Rows of this frame.
      - id: external_id
        type: u4
        doc: Number given from outside.
      - id: bunch_id
        type: u8
        doc: Number of the X-ray pulse.
      - id: fill
        size: 24
        doc: Unused.
