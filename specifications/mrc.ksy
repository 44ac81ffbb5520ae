# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: mrc
  title: MRC image stack or volume
  file-extension: [mrc, mrcs, st, ali, rec, map]
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  A header of 1024 bytes, an extended header, and images one after the other.

  The byte order of all numbers is told by the stamp at byte 212: the first byte is 0x44 in
  little-endian files and 0x11 in big-endian ones. In files without it, it is the order in which the
  mode and the number of rows and columns make sense.

  Modes: 0 8 bit, 1 16 bit signed, 2 32 bit float, 3 complex of 16 bit integers, 4 complex of 32 bit
  floats, 6 16 bit unsigned, 12 16 bit float, 16 red, green and blue of 8 bit, 101 4 bit unsigned.

  8-bit pixels are signed by MRC2014. Older programs differ; IMOD says what it means in a flag, and
  Direct Electron's movies are unsigned.

  In mode 101 a byte holds two pixels, the first one in the low half; each row begins with a new byte.

  Rows count from the bottom by MRC2014; programs show them from the top all the same.

  An interrupted recording holds fewer images than its header announces. Reference images of Direct
  Electron announce 32766 images whatever there are.
doc-ref: https://www.ccpem.ac.uk/mrc_format/mrc2014.php

params:
  - id: big_endian
    type: bool
    doc: Whether the file is big-endian.

seq:
  - id: header
    type: header
    doc: Fixed-size header.
  - id: extended
    size: header.len_extended
    type:
      switch-on: extended_kind
      cases:
        1: fei_records(768)
        2: fei_records(888)
        3: old_fei_records
    doc: >-
      Extended header. Records of FEI, one per image; or anything: symmetry operators as text (CCP4),
      numbers of SerialEM (SERI), metadata of HyperSpy (json, by MRCZ).
  - id: images
    size: len_image
    repeat: expr
    repeat-expr: num_images
    doc: Rows of pixels one after the other.
  - id: remainder
    size-eos: true
    doc: Part of an image, if the recording was interrupted; or anything.

instances:
  kind:
    pos: 104
    size: 4
    type: str
    encoding: ASCII
    doc: Kind of the extended header.
  extended_kind:
    value: 'kind == "FEI1" ? 1 : (kind == "FEI2" ? 2 : ((header.len_extended == 131072 or header.len_extended == 1048576) and kind != "json" and kind != "SERI" and kind != "CCP4" and kind != "MRCO" and kind != "HDF5" ? 3 : 0))'
    doc: 1 FEI1, 2 FEI2, 3 older FEI, 0 anything else.
  len_row:
    value: 'header.mode == 101 ? (header.num_columns + 1) / 2 : header.num_columns * (header.mode == 0 ? 1 : (header.mode == 16 ? 3 : (header.mode == 2 or header.mode == 3 or header.mode == 7 or header.mode == 8 ? 4 : (header.mode == 4 ? 8 : 2))))'
    doc: Bytes of a row.
  len_image:
    value: len_row * header.num_rows
    doc: Bytes of an image.
  num_held:
    value: (_io.size - 1024 - header.len_extended) / len_image
    doc: Number of images that the file has room for.
  num_images:
    value: 'header.num_images > 0 and header.num_images < num_held ? header.num_images : num_held'
    doc: Number of complete images.

types:
  header:
    meta:
      endian:
        switch-on: _root.big_endian
        cases:
          true: be
          false: le
    seq:
      - id: num_columns
        -orig-id: NX
        type: s4
        doc: Columns.
      - id: num_rows
        -orig-id: NY
        type: s4
        doc: Rows.
      - id: num_images
        -orig-id: NZ
        type: s4
        doc: Images.
      - id: mode
        -orig-id: MODE
        type: s4
        doc: Pixel type; 7 and 8, whole numbers of 32 bits, are of MRCZ.
      - id: start_x
        -orig-id: NXSTART
        type: s4
        doc: First column in the grid of the cell.
      - id: start_y
        -orig-id: NYSTART
        type: s4
        doc: First row in the grid of the cell.
      - id: start_z
        -orig-id: NZSTART
        type: s4
        doc: First image in the grid of the cell.
      - id: mx
        -orig-id: MX
        type: s4
        doc: Grid points along the first axis of the cell; MRCZ has 0, and as many as pixels.
      - id: my
        -orig-id: MY
        type: s4
        doc: Grid points along the second axis of the cell.
      - id: mz
        -orig-id: MZ
        type: s4
        doc: Grid points along the third axis of the cell; in stacks of volumes, images per volume.
      - id: cell_x
        -orig-id: Xlen
        type: f4
        doc: Size of the cell along its first axis in Å; 0 or less if unknown.
      - id: cell_y
        -orig-id: Ylen
        type: f4
        doc: Size of the cell along its second axis in Å.
      - id: cell_z
        -orig-id: Zlen
        type: f4
        doc: Size of the cell along its third axis in Å.
      - id: alpha
        -orig-id: ALPHA
        type: f4
        doc: Angle of the cell in degrees.
      - id: beta
        -orig-id: BETA
        type: f4
        doc: Angle of the cell in degrees.
      - id: gamma
        -orig-id: GAMMA
        type: f4
        doc: Angle of the cell in degrees.
      - id: mapc
        -orig-id: MAPC
        type: s4
        doc: Axis of the cell along which columns count, 1 to 3.
      - id: mapr
        -orig-id: MAPR
        type: s4
        doc: Axis of the cell along which rows count.
      - id: maps
        -orig-id: MAPS
        type: s4
        doc: Axis of the cell along which images count.
      - id: amin
        -orig-id: AMIN
        type: f4
        doc: Least pixel value; more than the greatest if unknown.
      - id: amax
        -orig-id: AMAX
        type: f4
        doc: Greatest pixel value.
      - id: amean
        -orig-id: AMEAN
        type: f4
        doc: Mean of the pixel values.
      - id: space_group
        -orig-id: ISPG
        type: s4
        doc: '0 image stack, 1 volume, 401 to 630 stack of volumes; otherwise the space group.'
      - id: len_extended
        -orig-id: NEXT
        type: s4
        doc: Bytes of the extended header, NSYMBT in MRC2014.
      - id: extra_a
        -orig-id: EXTRA_A
        size: 8
        doc: Free.
      - id: ext_type
        -orig-id: EXTTYP
        size: 4
        doc: 'Kind of the extended header: FEI1, FEI2, SERI, CCP4, MRCO, AGAR, HDF5, json.'
      - id: version
        -orig-id: NVERSION
        type: s4
        doc: 10 * year + version, from 20140 on; anything in older files.
      - id: extra_b
        -orig-id: EXTRA_B
        size: 16
        doc: Free.
      - id: nint
        -orig-id: NINT
        type: s2
        doc: 'SerialEM: bytes per image in the extended header.'
      - id: nreal
        -orig-id: NREAL
        type: s2
        doc: >-
          SerialEM: flags that tell what these are, signed numbers of 16 bits. 1 tilt in degrees * 100; 2 piece
          coordinates (three, unsigned); 4 x and y of the stage in µm * 25; 8 magnification / 100; 16 intensity *
          25000; 32 dose in electrons / Å² (two: sign(a) * (|a| * 256 + |b| mod 256) * 2^(sign(b) * (|b| / 256)));
          64, 256, 1024 reserved (one); 128, 512 reserved (two).
      - id: extra_c
        -orig-id: EXTRA_C
        size: 20
        doc: Free.
      - id: imod_stamp
        -orig-id: IMODSTAMP
        type: s4
        doc: 1146047817 if the next field is in use.
      - id: imod_flags
        -orig-id: IMODFLAGS
        type: s4
        doc: Bit 0 is set if 8-bit pixels are signed.
      - id: idtype
        -orig-id: IDTYPE
        type: s2
        doc: 'IMOD: kind of series.'
      - id: lens
        -orig-id: LENS
        type: s2
        doc: 'IMOD: lens.'
      - id: nd1
        -orig-id: ND1
        type: s2
        doc: 'IMOD: number.'
      - id: nd2
        -orig-id: ND2
        type: s2
        doc: 'IMOD: number.'
      - id: vd1
        -orig-id: VD1
        type: s2
        doc: 'IMOD: number.'
      - id: vd2
        -orig-id: VD2
        type: s2
        doc: 'IMOD: number.'
      - id: tilt_angles
        -orig-id: TILTANGLES
        type: f4
        repeat: expr
        repeat-expr: 6
        doc: 'IMOD: angles in degrees.'
      - id: origin_x
        -orig-id: XORIGIN
        type: f4
        doc: Origin along the first axis in Å.
      - id: origin_y
        -orig-id: YORIGIN
        type: f4
        doc: Origin along the second axis in Å.
      - id: origin_z
        -orig-id: ZORIGIN
        type: f4
        doc: Origin along the third axis in Å.
      - id: mark
        -orig-id: CMAP
        size: 4
        doc: '`MAP `; not in files of before 2000.'
      - id: stamp
        -orig-id: STAMP
        size: 4
        doc: 44 44 or 44 41 in little-endian files, 11 11 in big-endian ones.
      - id: rms
        -orig-id: RMS
        type: f4
        doc: Scatter of the pixel values; negative if unknown.
      - id: num_labels
        -orig-id: NLABL
        type: s4
        doc: Labels in use.
      - id: labels
        -orig-id: LABELS
        size: 80
        repeat: expr
        repeat-expr: 10
        doc: Text.
  fei_records:
    params:
      - id: len_record
        type: s4
        doc: Bytes of a record.
    seq:
      - id: records
        type: fei_record(len_record)
        size: len_record
        repeat: expr
        repeat-expr: _io.size / len_record
        doc: One per image, then unused ones.
  fei_record:
    meta:
      endian:
        switch-on: _root.big_endian
        cases:
          true: be
          false: le
    params:
      - id: len_record
        type: s4
        doc: Bytes of a record.
    seq:
      - id: metadata_size
        -orig-id: metadata_size
        type: s4
        doc: Bytes of this record, 768 or 888.
      - id: metadata_version
        -orig-id: metadata_version
        type: s4
        doc: '0, or 2 in FEI2.'
      - id: bitmask_1
        -orig-id: bitmask_1
        size: 4
        doc: Which of the fields up to the next such mask are valid.
      - id: timestamp
        -orig-id: timestamp
        type: f8
        doc: Days since 1899-12-30.
      - id: microscope_type
        -orig-id: microscope_type
        size: 16
        doc: Microscope type.
      - id: d_number
        -orig-id: d_number
        size: 16
        doc: D number.
      - id: application
        -orig-id: application
        size: 16
        doc: Application.
      - id: application_version
        -orig-id: application_version
        size: 16
        doc: Application version.
      - id: ht
        -orig-id: ht
        type: f8
        doc: Acceleration voltage in V.
      - id: dose
        -orig-id: dose
        type: f8
        doc: Dose in electrons per m².
      - id: alpha_tilt
        -orig-id: alpha_tilt
        type: f8
        doc: Alpha tilt in degrees.
      - id: beta_tilt
        -orig-id: beta_tilt
        type: f8
        doc: Beta tilt in degrees.
      - id: x_stage
        -orig-id: x_stage
        type: f8
        doc: X stage in m.
      - id: y_stage
        -orig-id: y_stage
        type: f8
        doc: Y stage in m.
      - id: z_stage
        -orig-id: z_stage
        type: f8
        doc: Z stage in m.
      - id: tilt_axis_angle
        -orig-id: tilt_axis_angle
        type: f8
        doc: Tilt axis angle in degrees.
      - id: dual_axis_rotation
        -orig-id: dual_axis_rotation
        type: f8
        doc: Dual axis rotation in degrees.
      - id: pixel_size_x
        -orig-id: pixel_size_x
        type: f8
        doc: Pixel size x in m.
      - id: pixel_size_y
        -orig-id: pixel_size_y
        type: f8
        doc: Pixel size y in m.
      - id: unused
        -orig-id: unused
        size: 48
        doc: Reserved.
      - id: defocus
        -orig-id: defocus
        type: f8
        doc: Defocus in m.
      - id: stem_defocus
        -orig-id: stem_defocus
        type: f8
        doc: Stem defocus in m.
      - id: applied_defocus
        -orig-id: applied_defocus
        type: f8
        doc: Applied defocus in m.
      - id: instrument_mode
        -orig-id: instrument_mode
        type: s4
        doc: 1 TEM, 2 STEM.
      - id: projection_mode
        -orig-id: projection_mode
        type: s4
        doc: Projection mode.
      - id: objective_lens_mode
        -orig-id: objective_lens_mode
        size: 16
        doc: Objective lens mode.
      - id: high_magnification_mode
        -orig-id: high_magnification_mode
        size: 16
        doc: High magnification mode.
      - id: probe_mode
        -orig-id: probe_mode
        type: s4
        doc: Probe mode.
      - id: eftem_on
        -orig-id: eftem_on
        type: u1
        doc: Eftem on.
      - id: magnification
        -orig-id: magnification
        type: f8
        doc: Magnification.
      - id: bitmask_2
        -orig-id: bitmask_2
        size: 4
        doc: Which of the fields up to the next such mask are valid.
      - id: camera_length
        -orig-id: camera_length
        type: f8
        doc: Camera length in m.
      - id: spot_index
        -orig-id: spot_index
        type: s4
        doc: Spot index.
      - id: illuminated_area
        -orig-id: illuminated_area
        type: f8
        doc: Illuminated area.
      - id: intensity
        -orig-id: intensity
        type: f8
        doc: Intensity.
      - id: convergence_angle
        -orig-id: convergence_angle
        type: f8
        doc: Convergence angle in rad.
      - id: illumination_mode
        -orig-id: illumination_mode
        size: 16
        doc: Illumination mode.
      - id: wide_convergence_angle_range
        -orig-id: wide_convergence_angle_range
        type: u1
        doc: Wide convergence angle range.
      - id: slit_inserted
        -orig-id: slit_inserted
        type: u1
        doc: Slit inserted.
      - id: slit_width
        -orig-id: slit_width
        type: f8
        doc: Slit width.
      - id: acceleration_voltage_offset
        -orig-id: acceleration_voltage_offset
        type: f8
        doc: Acceleration voltage offset.
      - id: drift_tube_voltage
        -orig-id: drift_tube_voltage
        type: f8
        doc: Drift tube voltage.
      - id: energy_shift
        -orig-id: energy_shift
        type: f8
        doc: Energy shift.
      - id: shift_offset_x
        -orig-id: shift_offset_x
        type: f8
        doc: Shift offset x.
      - id: shift_offset_y
        -orig-id: shift_offset_y
        type: f8
        doc: Shift offset y.
      - id: shift_x
        -orig-id: shift_x
        type: f8
        doc: Shift x.
      - id: shift_y
        -orig-id: shift_y
        type: f8
        doc: Shift y.
      - id: integration_time
        -orig-id: integration_time
        type: f8
        doc: Exposure in s.
      - id: binning_width
        -orig-id: binning_width
        type: s4
        doc: Binning width.
      - id: binning_height
        -orig-id: binning_height
        type: s4
        doc: Binning height.
      - id: camera_name
        -orig-id: camera_name
        size: 16
        doc: Camera name.
      - id: readout_area_left
        -orig-id: readout_area_left
        type: s4
        doc: Readout area left.
      - id: readout_area_top
        -orig-id: readout_area_top
        type: s4
        doc: Readout area top.
      - id: readout_area_right
        -orig-id: readout_area_right
        type: s4
        doc: Readout area right.
      - id: readout_area_bottom
        -orig-id: readout_area_bottom
        type: s4
        doc: Readout area bottom.
      - id: ceta_noise_reduction
        -orig-id: ceta_noise_reduction
        type: u1
        doc: Ceta noise reduction.
      - id: ceta_frames_summed
        -orig-id: ceta_frames_summed
        type: s4
        doc: Ceta frames summed.
      - id: electron_counting
        -orig-id: electron_counting
        type: u1
        doc: Electron counting.
      - id: align_frames
        -orig-id: align_frames
        type: u1
        doc: Align frames.
      - id: camera_reserved_1
        -orig-id: camera_reserved_1
        size: 16
        doc: Reserved.
      - id: bitmask_3
        -orig-id: bitmask_3
        size: 4
        doc: Which of the fields up to the next such mask are valid.
      - id: camera_reserved_2
        -orig-id: camera_reserved_2
        size: 24
        doc: Reserved.
      - id: phase_plate
        -orig-id: phase_plate
        type: u1
        doc: Phase plate.
      - id: stem_detector_name
        -orig-id: stem_detector_name
        size: 16
        doc: Stem detector name.
      - id: gain
        -orig-id: gain
        type: f8
        doc: Gain of the STEM detector.
      - id: offset
        -orig-id: offset
        type: f8
        doc: Offset of the STEM detector.
      - id: stem_reserved
        -orig-id: stem_reserved
        size: 20
        doc: Reserved.
      - id: dwell_time
        -orig-id: dwell_time
        type: f8
        doc: Dwell time; unit not known.
      - id: frame_time
        -orig-id: frame_time
        type: f8
        doc: Frame time; unit not known.
      - id: scan_size_left
        -orig-id: scan_size_left
        type: s4
        doc: Left edge of the scan area in scan positions.
      - id: scan_size_top
        -orig-id: scan_size_top
        type: s4
        doc: Top edge of the scan area in scan positions.
      - id: scan_size_right
        -orig-id: scan_size_right
        type: s4
        doc: Right edge of the scan area in scan positions.
      - id: scan_size_bottom
        -orig-id: scan_size_bottom
        type: s4
        doc: Bottom edge of the scan area in scan positions.
      - id: full_scan_fov_x
        -orig-id: full_scan_fov_x
        type: f8
        doc: Full scan fov x in m.
      - id: full_scan_fov_y
        -orig-id: full_scan_fov_y
        type: f8
        doc: Full scan fov y in m.
      - id: element
        -orig-id: element
        size: 16
        doc: Element of an energy filtered image.
      - id: energy_interval_lower
        -orig-id: energy_interval_lower
        type: f8
        doc: Energy interval lower.
      - id: energy_interval_higher
        -orig-id: energy_interval_higher
        type: f8
        doc: Energy interval higher.
      - id: method
        -orig-id: method
        type: s4
        doc: Method.
      - id: is_dose_fraction
        -orig-id: is_dose_fraction
        type: u1
        doc: Is dose fraction.
      - id: fraction_number
        -orig-id: fraction_number
        type: s4
        doc: Fraction number.
      - id: start_frame
        -orig-id: start_frame
        type: s4
        doc: Start frame.
      - id: end_frame
        -orig-id: end_frame
        type: s4
        doc: End frame.
      - id: input_stack_filename
        -orig-id: input_stack_filename
        size: 80
        doc: Input stack filename.
      - id: bitmask_4
        -orig-id: bitmask_4
        size: 4
        doc: Which of the fields up to the next such mask are valid.
      - id: alpha_tilt_min
        -orig-id: alpha_tilt_min
        type: f8
        doc: Alpha tilt min in degrees.
      - id: alpha_tilt_max
        -orig-id: alpha_tilt_max
        type: f8
        doc: Alpha tilt max in degrees.
      - id: more
        type: fei2_fields
        if: len_record >= 888
        doc: Fields of FEI2.
  fei2_fields:
    meta:
      endian:
        switch-on: _root.big_endian
        cases:
          true: be
          false: le
    seq:
      - id: scan_rotation
        -orig-id: scan_rotation
        type: f8
        doc: Scan rotation in degrees.
      - id: diffraction_pattern_rotation
        -orig-id: diffraction_pattern_rotation
        type: f8
        doc: Diffraction pattern rotation in degrees.
      - id: image_rotation
        -orig-id: image_rotation
        type: f8
        doc: Image rotation in degrees.
      - id: scan_mode
        -orig-id: scan_mode
        type: s4
        doc: Scan mode.
      - id: acquisition_time_stamp
        -orig-id: acquisition_time_stamp
        type: s8
        doc: Acquisition time stamp.
      - id: detector_commercial_name
        -orig-id: detector_commercial_name
        size: 16
        doc: Detector commercial name.
      - id: start_tilt_angle
        -orig-id: start_tilt_angle
        type: f8
        doc: Start tilt angle in degrees.
      - id: end_tilt_angle
        -orig-id: end_tilt_angle
        type: f8
        doc: End tilt angle in degrees.
      - id: tilt_per_image
        -orig-id: tilt_per_image
        type: f8
        doc: Tilt per image in degrees.
      - id: tilt_speed
        -orig-id: tilt_speed
        type: f8
        doc: Tilt speed.
      - id: beam_center_x_pixel
        -orig-id: beam_center_x_pixel
        type: s4
        doc: Beam center x pixel.
      - id: beam_center_y_pixel
        -orig-id: beam_center_y_pixel
        type: s4
        doc: Beam center y pixel.
      - id: cfeg_flash_timestamp
        -orig-id: cfeg_flash_timestamp
        type: s8
        doc: Cfeg flash timestamp.
      - id: phase_plate_position_index
        -orig-id: phase_plate_position_index
        type: s4
        doc: Phase plate position index.
      - id: objective_aperture_name
        -orig-id: objective_aperture_name
        size: 16
        doc: Objective aperture name.
  old_fei_records:
    seq:
      - id: records
        type: old_fei_record
        repeat: expr
        repeat-expr: _root.header.len_extended / 128
        doc: One per image, then unused ones.
  old_fei_record:
    meta:
      endian:
        switch-on: _root.big_endian
        cases:
          true: be
          false: le
    seq:
      - id: a_tilt
        -orig-id: a_tilt
        type: f4
        doc: Alpha tilt in degrees.
      - id: b_tilt
        -orig-id: b_tilt
        type: f4
        doc: Beta tilt in degrees.
      - id: x_stage
        -orig-id: x_stage
        type: f4
        doc: Stage in m.
      - id: y_stage
        -orig-id: y_stage
        type: f4
        doc: Stage in m.
      - id: z_stage
        -orig-id: z_stage
        type: f4
        doc: Stage in m.
      - id: x_shift
        -orig-id: x_shift
        type: f4
        doc: Image shift in m.
      - id: y_shift
        -orig-id: y_shift
        type: f4
        doc: Image shift in m.
      - id: defocus
        -orig-id: defocus
        type: f4
        doc: Defocus in m.
      - id: exp_time
        -orig-id: exp_time
        type: f4
        doc: Exposure in s.
      - id: mean_int
        -orig-id: mean_int
        type: f4
        doc: Mean of the image.
      - id: tilt_axis
        -orig-id: tilt_axis
        type: f4
        doc: Tilt axis in degrees.
      - id: pixel_size
        -orig-id: pixel_size
        type: f4
        doc: Pixel size in m.
      - id: magnification
        -orig-id: magnification
        type: f4
        doc: Magnification.
      - id: unused
        -orig-id: unused
        size: 76
        doc: Unused.
