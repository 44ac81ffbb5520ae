# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: ser
  title: TIA series (.ser), images and spectra
  file-extension: ser
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  A header with the dimensions in which elements are arranged, a table that says where each element
  and its tag begin, and the elements: images or spectra, each with its own calibration.

  The table has an entry for every element that was asked for, then as many for the tags. If the
  series was interrupted, the data entry behind the last recorded element is where the next one
  would have begun, and the others are zero.

  In all recorded files a tag follows its element, and elements follow each other without a gap.

  The description (.emi) is described in ser_emi.md.
doc-ref: https://hyperspy.org/rosettasciio/supported_formats/tia.html

seq:
  - id: header
    type: header
    doc: What the series holds.
  - id: ofs_table
    -orig-id: OffsetArrayOffset
    type:
      switch-on: header.version
      cases:
        0x0210: u4
        0x0220: u8
    doc: Where the table begins.
  - id: num_dimensions
    -orig-id: NumberDimensions
    type: u4
    doc: Number of dimensions; 1 or 2 in recorded files.
  - id: dimensions
    type: dimension
    repeat: expr
    repeat-expr: num_dimensions
    doc: The dimensions in which elements are arranged, the fastest first.

instances:
  table:
    pos: ofs_table
    type: table
    doc: Where elements and tags begin.
  elements:
    pos: 0
    type: element(_index)
    repeat: expr
    repeat-expr: header.num_valid
    doc: The recorded elements.

types:
  header:
    seq:
      - id: byte_order
        -orig-id: ByteOrder
        contents: [0x49, 0x49]
        doc: II, little-endian.
      - id: series
        -orig-id: SeriesID
        contents: [0x97, 0x01]
        doc: 0x0197, a series of TIA.
      - id: version
        -orig-id: SeriesVersion
        type: u2
        valid:
          any-of: [0x0210, 0x0220]
        doc: 0x0210 with places of 4 bytes, 0x0220 (TIA 4.7.3 and later) of 8 bytes.
      - id: kind
        -orig-id: DataTypeID
        type: u4
        valid:
          any-of: [0x4120, 0x4122]
        doc: 0x4120 for spectra, 0x4122 for images.
      - id: tag_kind
        -orig-id: TagTypeID
        type: u4
        valid:
          any-of: [0x4152, 0x4142]
        doc: 0x4152 for tags with a time, 0x4142 for tags with a time and a position.
      - id: num_total
        -orig-id: TotalNumberElements
        type: u4
        doc: Elements that were asked for.
      - id: num_valid
        -orig-id: ValidNumberElements
        type: u4
        doc: Elements that were recorded.
  dimension:
    seq:
      - id: size
        -orig-id: DimensionSize
        type: u4
        doc: Elements along this dimension.
      - id: offset
        -orig-id: CalibrationOffset
        type: f8
        doc: Coordinate of the element with the number `element`.
      - id: delta
        -orig-id: CalibrationDelta
        type: f8
        doc: Distance of elements.
      - id: element
        -orig-id: CalibrationElement
        type: u4
        doc: Number of the element to which `offset` belongs.
      - id: len_description
        type: u4
        doc: Length of the next text.
      - id: description
        -orig-id: Description
        type: str
        size: len_description
        encoding: ISO-8859-1
        doc: Number or Position.
      - id: len_units
        type: u4
        doc: Length of the next text.
      - id: units
        -orig-id: Units
        type: str
        size: len_units
        encoding: ISO-8859-1
        doc: meters, or nothing.
  table:
    seq:
      - id: data
        type:
          switch-on: _root.header.version
          cases:
            0x0210: u4
            0x0220: u8
        repeat: expr
        repeat-expr: _root.header.num_total
        doc: Where the data of each element begin.
      - id: tags
        type:
          switch-on: _root.header.version
          cases:
            0x0210: u4
            0x0220: u8
        repeat: expr
        repeat-expr: _root.header.num_total
        doc: Where the tag of each element begins.
  element:
    params:
      - id: number
        type: s4
        doc: Number of the element, from 0.
    instances:
      data:
        io: _root._io
        pos: _root.table.data[number]
        type:
          switch-on: _root.header.kind
          cases:
            0x4120: spectrum
            0x4122: image
        doc: Calibration and values.
      tag:
        io: _root._io
        pos: _root.table.tags[number]
        type: tag
        doc: Time and position.
  spectrum:
    seq:
      - id: offset
        -orig-id: CalibrationOffset
        type: f8
        doc: Energy of the channel with the number `element`.
      - id: delta
        -orig-id: CalibrationDelta
        type: f8
        doc: Energy per channel.
      - id: element
        -orig-id: CalibrationElement
        type: u4
        doc: Number of the channel to which `offset` belongs.
      - id: data_type
        -orig-id: DataType
        type: u2
        doc: Type of the values, see `value_size`.
      - id: length
        -orig-id: ArrayLength
        type: u4
        doc: Number of channels.
      - id: values
        size: length * size.bytes
        doc: Counts, little-endian.
    instances:
      size:
        type: value_size(data_type)
        doc: Bytes of a value.
  image:
    seq:
      - id: offset_x
        -orig-id: CalibrationOffsetX
        type: f8
        doc: Coordinate of the column with the number `element_x`, in m or 1/m.
      - id: delta_x
        -orig-id: CalibrationDeltaX
        type: f8
        doc: Distance of columns.
      - id: element_x
        -orig-id: CalibrationElementX
        type: u4
        doc: Number of the column to which `offset_x` belongs.
      - id: offset_y
        -orig-id: CalibrationOffsetY
        type: f8
        doc: Coordinate of the row with the number `element_y`, in m or 1/m.
      - id: delta_y
        -orig-id: CalibrationDeltaY
        type: f8
        doc: Distance of rows.
      - id: element_y
        -orig-id: CalibrationElementY
        type: u4
        doc: Number of the row to which `offset_y` belongs.
      - id: data_type
        -orig-id: DataType
        type: u2
        doc: Type of the pixels, see `value_size`.
      - id: columns
        -orig-id: ArraySizeX
        type: u4
        doc: Number of columns.
      - id: rows
        -orig-id: ArraySizeY
        type: u4
        doc: Number of rows.
      - id: values
        size: columns * rows * size.bytes
        doc: Pixels, little-endian, the bottom row first.
    instances:
      size:
        type: value_size(data_type)
        doc: Bytes of a pixel.
  value_size:
    doc: |
      Types are 1 to 10: unsigned integers of 8, 16 and 32 bits, signed integers of 8, 16 and 32
      bits, floating-point numbers of 32 and 64 bits, complex numbers of 2 x 32 and 2 x 64 bits.
    params:
      - id: data_type
        type: u2
        doc: Type of a value.
    instances:
      bytes:
        value: >-
          data_type == 10 ? 16 : data_type >= 8 ? 8 : data_type == 7 ? 4
          : data_type % 3 == 1 ? 1 : data_type % 3 == 2 ? 2 : 4
        doc: Bytes of a value.
  tag:
    seq:
      - id: kind
        -orig-id: TagTypeID
        type: u2
        doc: As in the header.
      - id: unknown
        -orig-id: Unknown
        type: u2
        doc: Zero.
      - id: time
        -orig-id: Time
        type: u4
        doc: Seconds since 1970.
      - id: x
        -orig-id: PositionX
        type: f8
        if: kind == 0x4142
        doc: Position of the beam in m.
      - id: y
        -orig-id: PositionY
        type: f8
        if: kind == 0x4142
        doc: Position of the beam in m.
