# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: seq_metadata
  title: StreamPix metadata, as Direct Electron's cameras write it
  file-extension: metadata
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  The file x.seq.metadata beside a sequence x.seq: a header and one unit for each slot. A unit has
  entries of several kinds. Behind the entries, a unit of fixed size is filled with whatever was in
  memory.

  Kind 8: settings of the camera, in recordings of whole frames. Kind 10: number of a buffer, in
  recordings of half frames. The settings are described as written by the software of 2022
  (version 16). Older ones (DE-16) are shorter; according to a single source they have a whole
  number for the frame rate at byte 32, rotation and flip at 36 and 40, OKRA at 44, and floating
  point numbers for sensor gain, magnification, pixel size, camera length and diffraction pixel
  size from byte 48.

seq:
  - id: header
    type: header
    size: 256
    doc: File header.

instances:
  ofs_units:
    value: header.header_size + header.info_size + header.lead_size
    doc: Where the first unit begins.
  units:
    pos: ofs_units
    type: unit
    size: header.unit_size
    repeat: expr
    repeat-expr: header.unit_count
    if: header.unit_size > 0
    doc: The units, for files in which all have the same size.

types:
  header:
    seq:
      - id: version
        type: s4
        valid: 1
        doc: Version of the format.
      - id: header_size
        type: s4
        valid: 256
        doc: Bytes of this header.
      - id: unit_count
        type: u4
        doc: Number of units, one for each slot of the sequence.
      - id: unit_size
        type: u4
        doc: Bytes of each unit; 0 if they differ.
      - id: info_size
        type: u4
        doc: Bytes of a section that follows this header.
      - id: lead_size
        type: u4
        doc: Bytes of a section that follows that section.
      - id: padding
        size: 232
        doc: Zeros.
  unit:
    seq:
      - id: size
        type: u4
        doc: Bytes of the unit that are in use, this number included.
      - id: num_entries
        type: u4
        doc: Number of entries.
      - id: entries
        type: entry
        repeat: expr
        repeat-expr: num_entries
        doc: The entries.
  entry:
    seq:
      - id: kind
        type: u4
        doc: What the content is, see above.
      - id: size
        type: u4
        doc: Bytes of the content.
      - id: content
        size: size
        type:
          switch-on: kind
          cases:
            8: settings
            10: counter
        doc: The content.
  counter:
    seq:
      - id: number
        type: s8
        doc: Number of the buffer, from 1; the same in both halves of a recording.
  settings:
    seq:
      - id: size
        type: u4
        doc: Bytes of the settings, 208.
      - id: version
        type: u4
        doc: Version of the settings, 16.
      - id: unbinned_width
        type: u4
        doc: Columns of the frame in pixels of the sensor.
      - id: unbinned_height
        type: u4
        doc: Rows of the frame in pixels of the sensor.
      - id: offset_x
        type: u4
        doc: First column of the frame on the sensor.
      - id: offset_y
        type: u4
        doc: First row of the frame on the sensor.
      - id: hardware_binning
        type: u4
        doc: Binning by the camera.
      - id: bit_mode
        type: u4
        doc: Bits of a pixel.
      - id: frame_rate
        type: f8
        doc: Frames per second.
      - id: rotation
        type: u4
        doc: As RotationMode in the XML.
      - id: flip
        type: u4
        doc: 2 where the XML has the flip "Vertical".
      - id: okra
        type: u1
        doc: Readout mode, 0 or 1.
      - id: global_shutter
        type: u1
        doc: Whether the shutter is global, 0 or 1.
      - id: off_chip_cds
        type: u1
        doc: Readout mode, 0 or 1.
      - id: akra
        type: u1
        doc: Readout mode, 0 or 1.
      - id: sensor_sequence
        type: u4
        doc: As Sequence in the XML.
      - id: camera_type
        type: u4
        doc: 6 for a Celeritas.
      - id: gain_mode
        type: u4
        doc: As SensorGainMode in the XML.
      - id: sensor_gain
        type: f8
        doc: Gain of the sensor.
      - id: magnification
        type: f8
        doc: Of the microscope, 0 if not known.
      - id: pixel_size
        type: f8
        doc: Of the specimen, 0 if not known; unit not documented.
      - id: camera_length
        type: f8
        doc: Of the microscope, 0 if not known; unit not documented.
      - id: diffraction_pixel_size
        type: f8
        doc: In diffraction, 0 if not known; unit not documented.
      - id: unknown
        size: 48
        doc: Meaning not known, zeros.
      - id: date_time
        size: 32
        doc: Local time of the computer as text.
      - id: grabber
        size: 8
        doc: Name of the frame grabber.
      - id: firmware
        type: f8
        doc: As FWVersion in the XML.
      - id: tail
        size-eos: true
        doc: Meaning not known.
