# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: k2is
  title: Gatan K2 IS sector (.bin)
  file-extension: bin
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: be

doc: |
  One of the eight sectors of a recording with a Gatan K2 IS camera. The image is read out in
  sectors of 256 columns side by side: `NAME1.bin` is the left one, `NAME8.bin` the right one. A
  file is nothing but blocks. Recordings may begin or end within a frame, begin with a part of a
  block (search for `sync`), and lack blocks; `block_count` tells which.

  32 blocks are a frame of a sector, 1860 rows of 256 columns: first the upper half, blocks from
  right to left, then the lower half in the same way. `block_count` is the same in all sectors for
  blocks of one moment. Eight sectors make 1860 rows of 2048 columns, of which the first 1792 rows
  and 1920 columns see the image.

  Pixels have 12 bits and are packed without gaps, rows one after the other. Two pixels take three
  bytes: the first pixel is byte 0 and the low four bits of byte 1 (as its high bits), the second
  is the high four bits of byte 1 (as its low bits) and byte 2.

  Whether the recording is a scan is told by `NAME.gtg`, see k2is_gtg.md.
doc-ref: https://libertem.github.io/LiberTEM/formats.html

seq:
  - id: blocks
    type: block
    repeat: expr
    repeat-expr: num_blocks
    doc: All complete blocks.
  - id: remainder
    size-eos: true
    doc: Part of a block at the end of the file; empty in a complete recording.

instances:
  first_header:
    pos: 0
    type: header
    doc: Header of the first block, which tells the size of all.
  num_blocks:
    value: _io.size / first_header.block_size
    doc: Number of complete blocks in the file.
  blocks_per_frame:
    value: >-
      (first_header.width / first_header.block_width)
      * (first_header.height / first_header.block_height)
    doc: Number of blocks that make one frame of the sector, 32.

types:
  block:
    seq:
      - id: header
        type: header
        doc: What the block is.
      - id: pixels
        size: header.block_size - 40
        doc: Packed pixels, 930 rows of 16.
  header:
    seq:
      - id: sync
        contents: [0xff, 0xff, 0x00, 0x55]
        doc: Begins every block.
      - id: unknown1
        size: 4
        doc: Unknown.
      - id: version
        type: u1
        doc: Version of the layout.
      - id: flags
        type: u1
        doc: Bit 0 is set while the shutter is active; other bits are unknown.
      - id: unknown2
        size: 6
        doc: Unknown.
      - id: block_count
        type: u4
        doc: Running number of the block, the same in all sectors.
      - id: width
        type: u2
        doc: Columns of the sector, 256.
      - id: height
        type: u2
        doc: Rows of the sector, 1860.
      - id: frame_id
        type: u4
        doc: Number of the frame. It may jump back during a recording.
      - id: x_start
        type: u2
        doc: First column of the block, counted within the sector.
      - id: y_start
        type: u2
        doc: First row of the block.
      - id: x_end
        type: u2
        doc: Last column of the block, which belongs to it.
      - id: y_end
        type: u2
        doc: Last row of the block, which belongs to it.
      - id: block_size
        type: u4
        doc: Bytes of the block with its header, 22360.
    instances:
      block_width:
        value: x_end - x_start + 1
        doc: Columns of the block, 16.
      block_height:
        value: y_end - y_start + 1
        doc: Rows of the block, 930.
      shutter_active:
        value: (flags & 1) == 1
        doc: Whether the shutter is active.
