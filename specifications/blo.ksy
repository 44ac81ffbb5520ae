# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: blo
  title: NanoMegas blockfile (.blo), 8 and 16 bit
  file-extension: blo
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  A header, a text note, an image of the scan, and a record with a square diffraction pattern for
  each scan position, fast axis first.

  Files of signature 258 have pixels of 8 bits. Files of signature 259 may have more, which a line
  of the note says: "Blo Bit Depth: 16 bits". Where the size of the file says otherwise, it is right.

  The gap between the image of the scan and the first record differs from file to file.
doc-ref: https://hyperspy.org/rosettasciio/supported_formats/blockfile.html

params:
  - id: bits
    type: u1
    doc: Bits per pixel, 8 or 16, as the note says.

seq:
  - id: header
    type: header
    doc: Fixed-size header.
  - id: note
    size: header.ofs_image - 240
    doc: Note of the user, Latin-1 with CR LF between lines, padded with NUL.
  - id: image
    size: header.num_x * header.num_y
    doc: Virtual bright field, 8 bits per scan position.
  - id: gap
    size: header.ofs_records - header.ofs_image - header.num_x * header.num_y
    doc: Padding.
  - id: records
    type: record
    repeat: expr
    repeat-expr: num_records
    doc: One for each scan position; fewer if the recording was interrupted.
  - id: remainder
    size-eos: true
    doc: Part of a record, if the recording was interrupted.

instances:
  len_pixels:
    value: header.edge * header.edge * (bits / 8)
    doc: Bytes of a pattern.
  num_records:
    value: (_io.size - header.ofs_records) / (len_pixels + 6)
    doc: Number of complete records.

types:
  header:
    seq:
      - id: magic
        -orig-id: ID
        contents: IMGBLO
        doc: Signature.
      - id: signature
        -orig-id: MAGIC
        type: u2
        valid:
          any-of: [258, 259]
        doc: 258 for pixels of 8 bits, 259 for files that say how many.
      - id: ofs_image
        -orig-id: Data_offset_1
        type: u4
        doc: Where the image of the scan begins, 4096 so far.
      - id: ofs_records
        -orig-id: Data_offset_2
        type: u4
        doc: Where the first record begins.
      - id: unknown
        -orig-id: UNKNOWN1
        type: u4
        doc: 131135 or 131141.
      - id: edge
        -orig-id: DP_SZ
        type: u2
        doc: Rows and columns of a pattern.
      - id: pattern_rotation
        -orig-id: DP_rotation
        type: u2
        doc: Rotation of the patterns, presumably in degrees / 100.
      - id: num_x
        -orig-id: NX
        type: u2
        doc: Scan positions along the fast axis.
      - id: num_y
        -orig-id: NY
        type: u2
        doc: Scan positions along the slow axis.
      - id: scan_rotation
        -orig-id: Scan_rotation
        type: u2
        doc: Rotation of the scan in degrees / 100.
      - id: step_x
        -orig-id: SX
        type: f8
        doc: Step of the scan along the fast axis in nm.
      - id: step_y
        -orig-id: SY
        type: f8
        doc: Step of the scan along the slow axis in nm.
      - id: beam_energy
        -orig-id: Beam_energy
        type: u4
        doc: Acceleration voltage in V.
      - id: pixel_density
        -orig-id: SDP
        type: u2
        doc: Pixels per cm times 100; 0 if unknown.
      - id: camera_length
        -orig-id: Camera_length
        type: u4
        doc: Camera length, presumably in 0.1 mm.
      - id: acquisition_time
        -orig-id: Acquisition_time
        type: f8
        doc: Days since 1899-12-30, with fractions.
      - id: centering
        -orig-id: Centering_N0 to Centering_N7
        type: f8
        repeat: expr
        repeat-expr: 8
        doc: Coefficients of the centring of the patterns.
      - id: distortion
        -orig-id: Distortion_N00 to Distortion_N13
        type: f8
        repeat: expr
        repeat-expr: 14
        doc: Coefficients of the distortion of the patterns.
  record:
    seq:
      - id: mark
        contents: [0xAA, 0x55]
        doc: Begins every record.
      - id: number
        type: u4
        doc: Number of the scan position, from 0.
      - id: pixels
        size: _root.len_pixels
        doc: Rows of pixels one after the other, little-endian.
