# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: seq
  title: Norpix StreamPix sequence
  file-extension: seq
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  Images of a camera, recorded by StreamPix or by software built on it (Direct Electron's cameras).
  A file header is followed by slots of equal size: the pixels of an image, the time when it was
  taken, and padding. Slots may be allocated and never written; these have no time. The padding
  behind the last image may be missing.

  Times are in UTC. Loop recordings overwrite the oldest slot: the order of recording begins with
  slot oldest_frame.

  Values of image_format with one number per pixel are 100 and 101 (mono, Bayer), 112 and 113 (the
  same, real bits uppermost), 114 and 115 (uppermost and big-endian); with bytes of colours, 200
  (blue, green, red), 400 (red, green, blue) and 500 (blue, green, red, unused). Files that are
  compressed (compression other than 0) are not described here.
doc-ref: https://www.norpix.com/support/support.php

seq:
  - id: header
    type: header
    size: 1024
    doc: File header. What lies between it and the first slot means nothing.

instances:
  ofs_slots:
    value: 'header.version >= 5 ? 8192 : 1024'
    doc: Where the first slot begins. The header's own header_size is always 1024.
  len_stamp:
    value: 'header.version >= 5 ? 8 : 6'
    doc: Bytes of the time behind an image.
  num_slots:
    value: >-
      (_io.size - ofs_slots + header.true_image_size - header.image_size - len_stamp)
      / header.true_image_size
    doc: Slots in the file of which pixels and time are complete, whether in use or not.
  slots:
    type: slot(_index)
    repeat: expr
    repeat-expr: num_slots
    pos: ofs_slots
    doc: The slots, in the order of the file.

types:
  header:
    seq:
      - id: magic
        type: u4
        valid: 0xfeed
        doc: Marks the format.
      - id: name
        size: 24
        doc: The text "Norpix seq" and a line feed in UTF-16, padded with zeros.
      - id: version
        type: s4
        doc: Version of the format; 5 in every known file of today.
      - id: header_size
        type: s4
        doc: Always 1024, whatever precedes the first slot.
      - id: description
        size: 512
        doc: Free text, or data, see description_format.
      - id: width
        type: u4
        doc: Columns of an image.
      - id: height
        type: u4
        doc: Rows of an image.
      - id: bit_depth
        type: u4
        doc: Bits that a stored pixel takes.
      - id: bit_depth_real
        type: u4
        doc: Bits of a pixel that the camera uses.
      - id: image_size
        type: u4
        doc: Bytes of the pixels of an image.
      - id: image_format
        type: u4
        doc: What a pixel is, see above.
      - id: allocated_frames
        type: u4
        doc: Slots in use when the file was closed.
      - id: origin
        type: u4
        doc: Not 0 in recordings around a trigger.
      - id: true_image_size
        type: u4
        doc: Bytes from one slot to the next.
      - id: frame_rate
        type: f8
        doc: Suggested for playback, 1/s. Not the rate of a Direct Electron camera.
      - id: description_format
        type: s4
        doc: 0 UTF-16, 1 ASCII, 2 data.
      - id: reference_frame
        type: u4
        doc: Frame that reference_time belongs to.
      - id: fixed_size
        type: u4
        doc: Compressed files only.
      - id: flags
        type: u4
        doc: 16 in files of Direct Electron.
      - id: bayer_pattern
        type: s4
        doc: Arrangement of the colour filters.
      - id: time_offset
        type: s4
        doc: In µs.
      - id: extended_header_size
        type: s4
        doc: 0 in every known file.
      - id: compression
        type: u4
        doc: 0 none; anything else is not described here.
      - id: reference_time
        type: s4
        doc: In s since 1970.
      - id: reference_time_ms
        type: u2
        doc: In ms, to add.
      - id: reference_time_us
        type: u2
        doc: In µs, to add.
      - id: h264_gop
        type: u4
        doc: Setting of a compressor, 30 by default.
      - id: h264_bitrate
        type: u4
        doc: Setting of a compressor, 5 000 000 by default.
      - id: jpeg_quality
        type: u4
        doc: Setting of a compressor, 0x80000000 by default.
      - id: h264_decode_format
        type: u4
        doc: Setting of a compressor.
      - id: index_offset
        type: s8
        doc: Compressed files, where the index of the images is.
      - id: oldest_frame
        type: u4
        doc: Loop recordings, the slot that was written first.
      - id: alignment
        type: u4
        doc: The size of a slot is a multiple of this many bytes; 0 if that is not stated.
      - id: padding
        size: 360
        doc: Not necessarily zero.
  slot:
    params:
      - id: number
        type: s4
        doc: Number of the slot in the file, from 0.
    instances:
      ofs_pixels:
        value: _root.ofs_slots + number * _root.header.true_image_size
        doc: Where the pixels begin.
      pixels:
        io: _root._io
        pos: ofs_pixels
        size: _root.header.image_size
        doc: Pixels, rows one after the other.
      seconds:
        io: _root._io
        pos: ofs_pixels + _root.header.image_size
        type: u4
        doc: Time of the image, s since 1970-01-01 UTC; 0 in slots that were never written.
      milliseconds:
        io: _root._io
        pos: ofs_pixels + _root.header.image_size + 4
        type: u2
        doc: In ms, to add.
      microseconds:
        io: _root._io
        pos: ofs_pixels + _root.header.image_size + 6
        type: u2
        if: _root.header.version >= 5
        doc: In µs, to add.
