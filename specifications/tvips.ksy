# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: tvips
  title: TVIPS recording (.tvips), versions 1 and 2
  file-extension: tvips
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  The first file of a series, NAME_000.tvips: a header, then frames until the end. The files that
  follow, NAME_001.tvips and so on, have no header and are frames only, of the type `frame` with the
  sizes given in the first. No frame spans two files.

  Pixels are unsigned integers of 8 or 16 bits, little-endian, rows one after the other. RosettaSciIO
  also writes 32 and 64 bits, and headers of version 1 whose frames have headers of version 2.

  Frames are recorded by the clock of the camera. In a scan, frames may be recorded before, between
  and after the positions, and positions may have none: the rotator index and, in long frame
  headers, the scan coordinates tell where a frame belongs.
doc-ref: https://hyperspy.org/rosettasciio/supported_formats/tvips.html

seq:
  - id: header
    type: header
    doc: Header of the series.
  - id: header_rest
    size: header.len_header - 256
    doc: Nothing, as far as known.
  - id: frames
    type: frame(len_frame_header, len_pixels)
    repeat: expr
    repeat-expr: num_frames
    doc: Frames in the order of recording.
  - id: remainder
    size-eos: true
    doc: Part of a frame, if the recording was interrupted.

instances:
  len_frame_header:
    value: 'header.version == 1 ? 12 : header.len_frame_header'
    doc: Bytes before the pixels of each frame.
  len_pixels:
    value: header.width * header.height * (header.bits / 8)
    doc: Bytes of pixels of each frame.
  num_frames:
    value: (_io.size - header.len_header) / (len_frame_header + len_pixels)
    doc: Number of complete frames in this file.

types:
  header:
    seq:
      - id: len_header
        -orig-id: size
        type: u4
        doc: Bytes of this header, 256.
      - id: version
        -orig-id: version
        type: u4
        valid:
          any-of: [1, 2]
        doc: Version of the format.
      - id: width
        -orig-id: dimx
        type: u4
        doc: Columns of a frame.
      - id: height
        -orig-id: dimy
        type: u4
        doc: Rows of a frame.
      - id: bits
        -orig-id: bitsperpixel
        type: u4
        doc: Bits per pixel, 8 or 16.
      - id: offset_x
        -orig-id: offsetx
        type: u4
        doc: Origin of the columns. RosettaSciIO takes it in the unit of the pixel size.
      - id: offset_y
        -orig-id: offsety
        type: u4
        doc: Origin of the rows.
      - id: binning_x
        -orig-id: binx
        type: u4
        doc: Binning of the camera along the rows.
      - id: binning_y
        -orig-id: biny
        type: u4
        doc: Binning of the camera along the columns.
      - id: pixel_size
        -orig-id: pixelsize
        type: u4
        doc: |
          Size of a pixel; 0 if unknown. In nm for images; RosettaSciIO takes it in 1/nm for
          diffraction patterns, where the unit is not documented.
      - id: high_tension
        -orig-id: ht
        type: u4
        doc: High tension in kV.
      - id: magnification
        -orig-id: magtotal
        type: u4
        doc: Magnification, or camera length for diffraction patterns.
      - id: len_frame_header
        -orig-id: frameheaderbytes
        type: u4
        doc: Bytes before the pixels of each frame; in version 1 part of the filler.
      - id: filler
        -orig-id: dummy
        size: 204
        doc: The text "TVIPS " again and again, in files of the vendor.
  frame:
    params:
      - id: len_header
        type: u4
        doc: Bytes before the pixels.
      - id: len_pixels
        type: u4
        doc: Bytes of pixels.
    seq:
      - id: header
        type: frame_header
        size: len_header
        doc: Header of the frame; padding behind its last field is not parsed.
      - id: pixels
        size: len_pixels
        doc: Pixels of the frame.
  frame_header:
    seq:
      - id: counter
        type: u4
        doc: Counter of the camera; may start over.
      - id: timestamp
        type: u4
        doc: Seconds since 1970-01-01 UTC.
      - id: ms
        type: u4
        doc: Milliseconds to add. Several frames may have the same time.
      - id: lut_index
        type: u4
        if: _io.size >= 16
        doc: Colour table.
      - id: faraday
        type: f4
        if: _io.size >= 20
        doc: Faraday cup.
      - id: mag
        type: u4
        if: _io.size >= 24
        doc: Magnification set at the microscope.
      - id: mode
        type: u4
        if: _io.size >= 28
        doc: 1 for images, 2 for diffraction patterns.
      - id: stage_x
        type: f4
        if: _io.size >= 32
        doc: Position of the stage in nm.
      - id: stage_y
        type: f4
        if: _io.size >= 36
        doc: Position of the stage in nm.
      - id: stage_z
        type: f4
        if: _io.size >= 40
        doc: Position of the stage in nm.
      - id: stage_alpha
        type: f4
        if: _io.size >= 44
        doc: Tilt of the stage in degrees.
      - id: stage_beta
        type: f4
        if: _io.size >= 48
        doc: Tilt of the stage in degrees.
      - id: rotidx
        type: u4
        if: _io.size >= 52
        doc: Rotator index. Counts scan positions from 1; 0 or 1 outside a scan.
      - id: dens_t
        type: f4
        if: _io.size >= 56
        doc: DENS heating holder, measured temperature. RosettaSciIO calls it "temperature".
      - id: dens_t_set
        type: f4
        if: _io.size >= 60
        doc: DENS heating holder, temperature set. RosettaSciIO calls it "objective".
      - id: dens_power
        type: f4
        if: _io.size >= 64
        doc: DENS heating holder, power.
      - id: objective
        type: f4
        if: _io.size >= 68
        doc: Current of the objective lens.
      - id: scan_x
        type: f4
        if: _io.size >= 72
        doc: Scan coordinate along the lines, a whole number from 0.
      - id: scan_y
        type: f4
        if: _io.size >= 76
        doc: Scan coordinate across the lines, a whole number from 0.
      - id: bias_u_set
        type: f4
        if: _io.size >= 80
        doc: DENS biasing holder, voltage set.
      - id: bias_u
        type: f4
        if: _io.size >= 84
        doc: DENS biasing holder, voltage.
      - id: bias_i_set
        type: f4
        if: _io.size >= 88
        doc: DENS biasing holder, current set.
      - id: bias_i
        type: f4
        if: _io.size >= 92
        doc: DENS biasing holder, current.
      - id: bias_e_set
        type: f4
        if: _io.size >= 96
        doc: DENS biasing holder, field set.
      - id: bias_r
        type: f4
        if: _io.size >= 100
        doc: DENS biasing holder, resistance.
      - id: bias_limit_u
        type: f4
        if: _io.size >= 104
        doc: DENS biasing holder, limit of the voltage.
      - id: bias_limit_i
        type: f4
        if: _io.size >= 108
        doc: DENS biasing holder, limit of the current. The last field known.
