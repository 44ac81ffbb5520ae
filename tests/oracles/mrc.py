# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/mrc.ksy, compiler 0.11.0.
# sha256 of the specification: 6b8ae31d13639627972ce52ca6b5d05a8580212cb771efd314476e476b1449cb
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Mrc(KaitaiStruct):
    """A header of 1024 bytes, an extended header, and images one after the other.
    
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
    
    .. seealso::
       Source - https://www.ccpem.ac.uk/mrc_format/mrc2014.php
    """
    def __init__(self, big_endian, _io, _parent=None, _root=None):
        super(Mrc, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self.big_endian = big_endian
        self._read()

    def _read(self):
        self.header = Mrc.Header(self._io, self, self._root)
        _on = self.extended_kind
        if _on == 1:
            pass
            self._raw_extended = self._io.read_bytes(self.header.len_extended)
            _io__raw_extended = KaitaiStream(BytesIO(self._raw_extended))
            self.extended = Mrc.FeiRecords(768, _io__raw_extended, self, self._root)
        elif _on == 2:
            pass
            self._raw_extended = self._io.read_bytes(self.header.len_extended)
            _io__raw_extended = KaitaiStream(BytesIO(self._raw_extended))
            self.extended = Mrc.FeiRecords(888, _io__raw_extended, self, self._root)
        elif _on == 3:
            pass
            self._raw_extended = self._io.read_bytes(self.header.len_extended)
            _io__raw_extended = KaitaiStream(BytesIO(self._raw_extended))
            self.extended = Mrc.OldFeiRecords(_io__raw_extended, self, self._root)
        else:
            pass
            self.extended = self._io.read_bytes(self.header.len_extended)
        self.images = []
        for i in range(self.num_images):
            self.images.append(self._io.read_bytes(self.len_image))

        self.remainder = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        _on = self.extended_kind
        if _on == 1:
            pass
            self.extended._fetch_instances()
        elif _on == 2:
            pass
            self.extended._fetch_instances()
        elif _on == 3:
            pass
            self.extended._fetch_instances()
        else:
            pass
        for i in range(len(self.images)):
            pass

        _ = self.kind
        if hasattr(self, '_m_kind'):
            pass


    class Fei2Fields(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mrc.Fei2Fields, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            _on = self._root.big_endian
            if _on == True:
                pass
                self._is_le = False
            elif _on == False:
                pass
                self._is_le = True
            if not hasattr(self, '_is_le'):
                raise kaitaistruct.UndecidedEndiannessError("/types/fei2_fields")
            elif self._is_le == True:
                self._read_le()
            elif self._is_le == False:
                self._read_be()

        def _read_le(self):
            self.scan_rotation = self._io.read_f8le()
            self.diffraction_pattern_rotation = self._io.read_f8le()
            self.image_rotation = self._io.read_f8le()
            self.scan_mode = self._io.read_s4le()
            self.acquisition_time_stamp = self._io.read_s8le()
            self.detector_commercial_name = self._io.read_bytes(16)
            self.start_tilt_angle = self._io.read_f8le()
            self.end_tilt_angle = self._io.read_f8le()
            self.tilt_per_image = self._io.read_f8le()
            self.tilt_speed = self._io.read_f8le()
            self.beam_center_x_pixel = self._io.read_s4le()
            self.beam_center_y_pixel = self._io.read_s4le()
            self.cfeg_flash_timestamp = self._io.read_s8le()
            self.phase_plate_position_index = self._io.read_s4le()
            self.objective_aperture_name = self._io.read_bytes(16)

        def _read_be(self):
            self.scan_rotation = self._io.read_f8be()
            self.diffraction_pattern_rotation = self._io.read_f8be()
            self.image_rotation = self._io.read_f8be()
            self.scan_mode = self._io.read_s4be()
            self.acquisition_time_stamp = self._io.read_s8be()
            self.detector_commercial_name = self._io.read_bytes(16)
            self.start_tilt_angle = self._io.read_f8be()
            self.end_tilt_angle = self._io.read_f8be()
            self.tilt_per_image = self._io.read_f8be()
            self.tilt_speed = self._io.read_f8be()
            self.beam_center_x_pixel = self._io.read_s4be()
            self.beam_center_y_pixel = self._io.read_s4be()
            self.cfeg_flash_timestamp = self._io.read_s8be()
            self.phase_plate_position_index = self._io.read_s4be()
            self.objective_aperture_name = self._io.read_bytes(16)


        def _fetch_instances(self):
            pass


    class FeiRecord(KaitaiStruct):
        def __init__(self, len_record, _io, _parent=None, _root=None):
            super(Mrc.FeiRecord, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.len_record = len_record
            self._read()

        def _read(self):
            _on = self._root.big_endian
            if _on == True:
                pass
                self._is_le = False
            elif _on == False:
                pass
                self._is_le = True
            if not hasattr(self, '_is_le'):
                raise kaitaistruct.UndecidedEndiannessError("/types/fei_record")
            elif self._is_le == True:
                self._read_le()
            elif self._is_le == False:
                self._read_be()

        def _read_le(self):
            self.metadata_size = self._io.read_s4le()
            self.metadata_version = self._io.read_s4le()
            self.bitmask_1 = self._io.read_bytes(4)
            self.timestamp = self._io.read_f8le()
            self.microscope_type = self._io.read_bytes(16)
            self.d_number = self._io.read_bytes(16)
            self.application = self._io.read_bytes(16)
            self.application_version = self._io.read_bytes(16)
            self.ht = self._io.read_f8le()
            self.dose = self._io.read_f8le()
            self.alpha_tilt = self._io.read_f8le()
            self.beta_tilt = self._io.read_f8le()
            self.x_stage = self._io.read_f8le()
            self.y_stage = self._io.read_f8le()
            self.z_stage = self._io.read_f8le()
            self.tilt_axis_angle = self._io.read_f8le()
            self.dual_axis_rotation = self._io.read_f8le()
            self.pixel_size_x = self._io.read_f8le()
            self.pixel_size_y = self._io.read_f8le()
            self.unused = self._io.read_bytes(48)
            self.defocus = self._io.read_f8le()
            self.stem_defocus = self._io.read_f8le()
            self.applied_defocus = self._io.read_f8le()
            self.instrument_mode = self._io.read_s4le()
            self.projection_mode = self._io.read_s4le()
            self.objective_lens_mode = self._io.read_bytes(16)
            self.high_magnification_mode = self._io.read_bytes(16)
            self.probe_mode = self._io.read_s4le()
            self.eftem_on = self._io.read_u1()
            self.magnification = self._io.read_f8le()
            self.bitmask_2 = self._io.read_bytes(4)
            self.camera_length = self._io.read_f8le()
            self.spot_index = self._io.read_s4le()
            self.illuminated_area = self._io.read_f8le()
            self.intensity = self._io.read_f8le()
            self.convergence_angle = self._io.read_f8le()
            self.illumination_mode = self._io.read_bytes(16)
            self.wide_convergence_angle_range = self._io.read_u1()
            self.slit_inserted = self._io.read_u1()
            self.slit_width = self._io.read_f8le()
            self.acceleration_voltage_offset = self._io.read_f8le()
            self.drift_tube_voltage = self._io.read_f8le()
            self.energy_shift = self._io.read_f8le()
            self.shift_offset_x = self._io.read_f8le()
            self.shift_offset_y = self._io.read_f8le()
            self.shift_x = self._io.read_f8le()
            self.shift_y = self._io.read_f8le()
            self.integration_time = self._io.read_f8le()
            self.binning_width = self._io.read_s4le()
            self.binning_height = self._io.read_s4le()
            self.camera_name = self._io.read_bytes(16)
            self.readout_area_left = self._io.read_s4le()
            self.readout_area_top = self._io.read_s4le()
            self.readout_area_right = self._io.read_s4le()
            self.readout_area_bottom = self._io.read_s4le()
            self.ceta_noise_reduction = self._io.read_u1()
            self.ceta_frames_summed = self._io.read_s4le()
            self.electron_counting = self._io.read_u1()
            self.align_frames = self._io.read_u1()
            self.camera_reserved_1 = self._io.read_bytes(16)
            self.bitmask_3 = self._io.read_bytes(4)
            self.camera_reserved_2 = self._io.read_bytes(24)
            self.phase_plate = self._io.read_u1()
            self.stem_detector_name = self._io.read_bytes(16)
            self.gain = self._io.read_f8le()
            self.offset = self._io.read_f8le()
            self.stem_reserved = self._io.read_bytes(20)
            self.dwell_time = self._io.read_f8le()
            self.frame_time = self._io.read_f8le()
            self.scan_size_left = self._io.read_s4le()
            self.scan_size_top = self._io.read_s4le()
            self.scan_size_right = self._io.read_s4le()
            self.scan_size_bottom = self._io.read_s4le()
            self.full_scan_fov_x = self._io.read_f8le()
            self.full_scan_fov_y = self._io.read_f8le()
            self.element = self._io.read_bytes(16)
            self.energy_interval_lower = self._io.read_f8le()
            self.energy_interval_higher = self._io.read_f8le()
            self.method = self._io.read_s4le()
            self.is_dose_fraction = self._io.read_u1()
            self.fraction_number = self._io.read_s4le()
            self.start_frame = self._io.read_s4le()
            self.end_frame = self._io.read_s4le()
            self.input_stack_filename = self._io.read_bytes(80)
            self.bitmask_4 = self._io.read_bytes(4)
            self.alpha_tilt_min = self._io.read_f8le()
            self.alpha_tilt_max = self._io.read_f8le()
            if self.len_record >= 888:
                pass
                self.more = Mrc.Fei2Fields(self._io, self, self._root)


        def _read_be(self):
            self.metadata_size = self._io.read_s4be()
            self.metadata_version = self._io.read_s4be()
            self.bitmask_1 = self._io.read_bytes(4)
            self.timestamp = self._io.read_f8be()
            self.microscope_type = self._io.read_bytes(16)
            self.d_number = self._io.read_bytes(16)
            self.application = self._io.read_bytes(16)
            self.application_version = self._io.read_bytes(16)
            self.ht = self._io.read_f8be()
            self.dose = self._io.read_f8be()
            self.alpha_tilt = self._io.read_f8be()
            self.beta_tilt = self._io.read_f8be()
            self.x_stage = self._io.read_f8be()
            self.y_stage = self._io.read_f8be()
            self.z_stage = self._io.read_f8be()
            self.tilt_axis_angle = self._io.read_f8be()
            self.dual_axis_rotation = self._io.read_f8be()
            self.pixel_size_x = self._io.read_f8be()
            self.pixel_size_y = self._io.read_f8be()
            self.unused = self._io.read_bytes(48)
            self.defocus = self._io.read_f8be()
            self.stem_defocus = self._io.read_f8be()
            self.applied_defocus = self._io.read_f8be()
            self.instrument_mode = self._io.read_s4be()
            self.projection_mode = self._io.read_s4be()
            self.objective_lens_mode = self._io.read_bytes(16)
            self.high_magnification_mode = self._io.read_bytes(16)
            self.probe_mode = self._io.read_s4be()
            self.eftem_on = self._io.read_u1()
            self.magnification = self._io.read_f8be()
            self.bitmask_2 = self._io.read_bytes(4)
            self.camera_length = self._io.read_f8be()
            self.spot_index = self._io.read_s4be()
            self.illuminated_area = self._io.read_f8be()
            self.intensity = self._io.read_f8be()
            self.convergence_angle = self._io.read_f8be()
            self.illumination_mode = self._io.read_bytes(16)
            self.wide_convergence_angle_range = self._io.read_u1()
            self.slit_inserted = self._io.read_u1()
            self.slit_width = self._io.read_f8be()
            self.acceleration_voltage_offset = self._io.read_f8be()
            self.drift_tube_voltage = self._io.read_f8be()
            self.energy_shift = self._io.read_f8be()
            self.shift_offset_x = self._io.read_f8be()
            self.shift_offset_y = self._io.read_f8be()
            self.shift_x = self._io.read_f8be()
            self.shift_y = self._io.read_f8be()
            self.integration_time = self._io.read_f8be()
            self.binning_width = self._io.read_s4be()
            self.binning_height = self._io.read_s4be()
            self.camera_name = self._io.read_bytes(16)
            self.readout_area_left = self._io.read_s4be()
            self.readout_area_top = self._io.read_s4be()
            self.readout_area_right = self._io.read_s4be()
            self.readout_area_bottom = self._io.read_s4be()
            self.ceta_noise_reduction = self._io.read_u1()
            self.ceta_frames_summed = self._io.read_s4be()
            self.electron_counting = self._io.read_u1()
            self.align_frames = self._io.read_u1()
            self.camera_reserved_1 = self._io.read_bytes(16)
            self.bitmask_3 = self._io.read_bytes(4)
            self.camera_reserved_2 = self._io.read_bytes(24)
            self.phase_plate = self._io.read_u1()
            self.stem_detector_name = self._io.read_bytes(16)
            self.gain = self._io.read_f8be()
            self.offset = self._io.read_f8be()
            self.stem_reserved = self._io.read_bytes(20)
            self.dwell_time = self._io.read_f8be()
            self.frame_time = self._io.read_f8be()
            self.scan_size_left = self._io.read_s4be()
            self.scan_size_top = self._io.read_s4be()
            self.scan_size_right = self._io.read_s4be()
            self.scan_size_bottom = self._io.read_s4be()
            self.full_scan_fov_x = self._io.read_f8be()
            self.full_scan_fov_y = self._io.read_f8be()
            self.element = self._io.read_bytes(16)
            self.energy_interval_lower = self._io.read_f8be()
            self.energy_interval_higher = self._io.read_f8be()
            self.method = self._io.read_s4be()
            self.is_dose_fraction = self._io.read_u1()
            self.fraction_number = self._io.read_s4be()
            self.start_frame = self._io.read_s4be()
            self.end_frame = self._io.read_s4be()
            self.input_stack_filename = self._io.read_bytes(80)
            self.bitmask_4 = self._io.read_bytes(4)
            self.alpha_tilt_min = self._io.read_f8be()
            self.alpha_tilt_max = self._io.read_f8be()
            if self.len_record >= 888:
                pass
                self.more = Mrc.Fei2Fields(self._io, self, self._root)



        def _fetch_instances(self):
            pass
            if self.len_record >= 888:
                pass
                self.more._fetch_instances()



    class FeiRecords(KaitaiStruct):
        def __init__(self, len_record, _io, _parent=None, _root=None):
            super(Mrc.FeiRecords, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.len_record = len_record
            self._read()

        def _read(self):
            self._raw_records = []
            self.records = []
            for i in range(self._io.size() // self.len_record):
                self._raw_records.append(self._io.read_bytes(self.len_record))
                _io__raw_records = KaitaiStream(BytesIO(self._raw_records[i]))
                self.records.append(Mrc.FeiRecord(self.len_record, _io__raw_records, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.records)):
                pass
                self.records[i]._fetch_instances()



    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mrc.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            _on = self._root.big_endian
            if _on == True:
                pass
                self._is_le = False
            elif _on == False:
                pass
                self._is_le = True
            if not hasattr(self, '_is_le'):
                raise kaitaistruct.UndecidedEndiannessError("/types/header")
            elif self._is_le == True:
                self._read_le()
            elif self._is_le == False:
                self._read_be()

        def _read_le(self):
            self.num_columns = self._io.read_s4le()
            self.num_rows = self._io.read_s4le()
            self.num_images = self._io.read_s4le()
            self.mode = self._io.read_s4le()
            self.start_x = self._io.read_s4le()
            self.start_y = self._io.read_s4le()
            self.start_z = self._io.read_s4le()
            self.mx = self._io.read_s4le()
            self.my = self._io.read_s4le()
            self.mz = self._io.read_s4le()
            self.cell_x = self._io.read_f4le()
            self.cell_y = self._io.read_f4le()
            self.cell_z = self._io.read_f4le()
            self.alpha = self._io.read_f4le()
            self.beta = self._io.read_f4le()
            self.gamma = self._io.read_f4le()
            self.mapc = self._io.read_s4le()
            self.mapr = self._io.read_s4le()
            self.maps = self._io.read_s4le()
            self.amin = self._io.read_f4le()
            self.amax = self._io.read_f4le()
            self.amean = self._io.read_f4le()
            self.space_group = self._io.read_s4le()
            self.len_extended = self._io.read_s4le()
            self.extra_a = self._io.read_bytes(8)
            self.ext_type = self._io.read_bytes(4)
            self.version = self._io.read_s4le()
            self.extra_b = self._io.read_bytes(16)
            self.nint = self._io.read_s2le()
            self.nreal = self._io.read_s2le()
            self.extra_c = self._io.read_bytes(20)
            self.imod_stamp = self._io.read_s4le()
            self.imod_flags = self._io.read_s4le()
            self.idtype = self._io.read_s2le()
            self.lens = self._io.read_s2le()
            self.nd1 = self._io.read_s2le()
            self.nd2 = self._io.read_s2le()
            self.vd1 = self._io.read_s2le()
            self.vd2 = self._io.read_s2le()
            self.tilt_angles = []
            for i in range(6):
                self.tilt_angles.append(self._io.read_f4le())

            self.origin_x = self._io.read_f4le()
            self.origin_y = self._io.read_f4le()
            self.origin_z = self._io.read_f4le()
            self.mark = self._io.read_bytes(4)
            self.stamp = self._io.read_bytes(4)
            self.rms = self._io.read_f4le()
            self.num_labels = self._io.read_s4le()
            self.labels = []
            for i in range(10):
                self.labels.append(self._io.read_bytes(80))


        def _read_be(self):
            self.num_columns = self._io.read_s4be()
            self.num_rows = self._io.read_s4be()
            self.num_images = self._io.read_s4be()
            self.mode = self._io.read_s4be()
            self.start_x = self._io.read_s4be()
            self.start_y = self._io.read_s4be()
            self.start_z = self._io.read_s4be()
            self.mx = self._io.read_s4be()
            self.my = self._io.read_s4be()
            self.mz = self._io.read_s4be()
            self.cell_x = self._io.read_f4be()
            self.cell_y = self._io.read_f4be()
            self.cell_z = self._io.read_f4be()
            self.alpha = self._io.read_f4be()
            self.beta = self._io.read_f4be()
            self.gamma = self._io.read_f4be()
            self.mapc = self._io.read_s4be()
            self.mapr = self._io.read_s4be()
            self.maps = self._io.read_s4be()
            self.amin = self._io.read_f4be()
            self.amax = self._io.read_f4be()
            self.amean = self._io.read_f4be()
            self.space_group = self._io.read_s4be()
            self.len_extended = self._io.read_s4be()
            self.extra_a = self._io.read_bytes(8)
            self.ext_type = self._io.read_bytes(4)
            self.version = self._io.read_s4be()
            self.extra_b = self._io.read_bytes(16)
            self.nint = self._io.read_s2be()
            self.nreal = self._io.read_s2be()
            self.extra_c = self._io.read_bytes(20)
            self.imod_stamp = self._io.read_s4be()
            self.imod_flags = self._io.read_s4be()
            self.idtype = self._io.read_s2be()
            self.lens = self._io.read_s2be()
            self.nd1 = self._io.read_s2be()
            self.nd2 = self._io.read_s2be()
            self.vd1 = self._io.read_s2be()
            self.vd2 = self._io.read_s2be()
            self.tilt_angles = []
            for i in range(6):
                self.tilt_angles.append(self._io.read_f4be())

            self.origin_x = self._io.read_f4be()
            self.origin_y = self._io.read_f4be()
            self.origin_z = self._io.read_f4be()
            self.mark = self._io.read_bytes(4)
            self.stamp = self._io.read_bytes(4)
            self.rms = self._io.read_f4be()
            self.num_labels = self._io.read_s4be()
            self.labels = []
            for i in range(10):
                self.labels.append(self._io.read_bytes(80))



        def _fetch_instances(self):
            pass
            for i in range(len(self.tilt_angles)):
                pass

            for i in range(len(self.labels)):
                pass



    class OldFeiRecord(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mrc.OldFeiRecord, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            _on = self._root.big_endian
            if _on == True:
                pass
                self._is_le = False
            elif _on == False:
                pass
                self._is_le = True
            if not hasattr(self, '_is_le'):
                raise kaitaistruct.UndecidedEndiannessError("/types/old_fei_record")
            elif self._is_le == True:
                self._read_le()
            elif self._is_le == False:
                self._read_be()

        def _read_le(self):
            self.a_tilt = self._io.read_f4le()
            self.b_tilt = self._io.read_f4le()
            self.x_stage = self._io.read_f4le()
            self.y_stage = self._io.read_f4le()
            self.z_stage = self._io.read_f4le()
            self.x_shift = self._io.read_f4le()
            self.y_shift = self._io.read_f4le()
            self.defocus = self._io.read_f4le()
            self.exp_time = self._io.read_f4le()
            self.mean_int = self._io.read_f4le()
            self.tilt_axis = self._io.read_f4le()
            self.pixel_size = self._io.read_f4le()
            self.magnification = self._io.read_f4le()
            self.unused = self._io.read_bytes(76)

        def _read_be(self):
            self.a_tilt = self._io.read_f4be()
            self.b_tilt = self._io.read_f4be()
            self.x_stage = self._io.read_f4be()
            self.y_stage = self._io.read_f4be()
            self.z_stage = self._io.read_f4be()
            self.x_shift = self._io.read_f4be()
            self.y_shift = self._io.read_f4be()
            self.defocus = self._io.read_f4be()
            self.exp_time = self._io.read_f4be()
            self.mean_int = self._io.read_f4be()
            self.tilt_axis = self._io.read_f4be()
            self.pixel_size = self._io.read_f4be()
            self.magnification = self._io.read_f4be()
            self.unused = self._io.read_bytes(76)


        def _fetch_instances(self):
            pass


    class OldFeiRecords(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mrc.OldFeiRecords, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.records = []
            for i in range(self._root.header.len_extended // 128):
                self.records.append(Mrc.OldFeiRecord(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.records)):
                pass
                self.records[i]._fetch_instances()



    @property
    def extended_kind(self):
        """1 FEI1, 2 FEI2, 3 older FEI, 0 anything else."""
        if hasattr(self, '_m_extended_kind'):
            return self._m_extended_kind

        self._m_extended_kind = (1 if self.kind == u"FEI1" else (2 if self.kind == u"FEI2" else (3 if  (( ((self.header.len_extended == 131072) or (self.header.len_extended == 1048576)) ) and (self.kind != u"json") and (self.kind != u"SERI") and (self.kind != u"CCP4") and (self.kind != u"MRCO") and (self.kind != u"HDF5"))  else 0)))
        return getattr(self, '_m_extended_kind', None)

    @property
    def kind(self):
        """Kind of the extended header."""
        if hasattr(self, '_m_kind'):
            return self._m_kind

        _pos = self._io.pos()
        self._io.seek(104)
        self._m_kind = (self._io.read_bytes(4)).decode(u"ASCII")
        self._io.seek(_pos)
        return getattr(self, '_m_kind', None)

    @property
    def len_image(self):
        """Bytes of an image."""
        if hasattr(self, '_m_len_image'):
            return self._m_len_image

        self._m_len_image = self.len_row * self.header.num_rows
        return getattr(self, '_m_len_image', None)

    @property
    def len_row(self):
        """Bytes of a row."""
        if hasattr(self, '_m_len_row'):
            return self._m_len_row

        self._m_len_row = ((self.header.num_columns + 1) // 2 if self.header.mode == 101 else self.header.num_columns * (1 if self.header.mode == 0 else (3 if self.header.mode == 16 else (4 if  ((self.header.mode == 2) or (self.header.mode == 3) or (self.header.mode == 7) or (self.header.mode == 8))  else (8 if self.header.mode == 4 else 2)))))
        return getattr(self, '_m_len_row', None)

    @property
    def num_held(self):
        """Number of images that the file has room for."""
        if hasattr(self, '_m_num_held'):
            return self._m_num_held

        self._m_num_held = ((self._io.size() - 1024) - self.header.len_extended) // self.len_image
        return getattr(self, '_m_num_held', None)

    @property
    def num_images(self):
        """Number of complete images."""
        if hasattr(self, '_m_num_images'):
            return self._m_num_images

        self._m_num_images = (self.header.num_images if  ((self.header.num_images > 0) and (self.header.num_images < self.num_held))  else self.num_held)
        return getattr(self, '_m_num_images', None)


