# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/tvips.ksy, compiler 0.11.0.
# sha256 of the specification: 396888707113e9538c969a9e58be05cfaec1739e5dcf50f052f706fdd54d5d33
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Tvips(KaitaiStruct):
    """The first file of a series, NAME_000.tvips: a header, then frames until the end. The files that
    follow, NAME_001.tvips and so on, have no header and are frames only, of the type `frame` with the
    sizes given in the first. No frame spans two files.
    
    Pixels are unsigned integers of 8 or 16 bits, little-endian, rows one after the other. RosettaSciIO
    also writes 32 and 64 bits, and headers of version 1 whose frames have headers of version 2.
    
    Frames are recorded by the clock of the camera. In a scan, frames may be recorded before, between
    and after the positions, and positions may have none: the rotator index and, in long frame
    headers, the scan coordinates tell where a frame belongs.
    
    .. seealso::
       Source - https://hyperspy.org/rosettasciio/supported_formats/tvips.html
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Tvips, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.header = Tvips.Header(self._io, self, self._root)
        self.header_rest = self._io.read_bytes(self.header.len_header - 256)
        self.frames = []
        for i in range(self.num_frames):
            self.frames.append(Tvips.Frame(self.len_frame_header, self.len_pixels, self._io, self, self._root))

        self.remainder = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        for i in range(len(self.frames)):
            pass
            self.frames[i]._fetch_instances()


    class Frame(KaitaiStruct):
        def __init__(self, len_header, len_pixels, _io, _parent=None, _root=None):
            super(Tvips.Frame, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.len_header = len_header
            self.len_pixels = len_pixels
            self._read()

        def _read(self):
            self._raw_header = self._io.read_bytes(self.len_header)
            _io__raw_header = KaitaiStream(BytesIO(self._raw_header))
            self.header = Tvips.FrameHeader(_io__raw_header, self, self._root)
            self.pixels = self._io.read_bytes(self.len_pixels)


        def _fetch_instances(self):
            pass
            self.header._fetch_instances()


    class FrameHeader(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tvips.FrameHeader, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.counter = self._io.read_u4le()
            self.timestamp = self._io.read_u4le()
            self.ms = self._io.read_u4le()
            if self._io.size() >= 16:
                pass
                self.lut_index = self._io.read_u4le()

            if self._io.size() >= 20:
                pass
                self.faraday = self._io.read_f4le()

            if self._io.size() >= 24:
                pass
                self.mag = self._io.read_u4le()

            if self._io.size() >= 28:
                pass
                self.mode = self._io.read_u4le()

            if self._io.size() >= 32:
                pass
                self.stage_x = self._io.read_f4le()

            if self._io.size() >= 36:
                pass
                self.stage_y = self._io.read_f4le()

            if self._io.size() >= 40:
                pass
                self.stage_z = self._io.read_f4le()

            if self._io.size() >= 44:
                pass
                self.stage_alpha = self._io.read_f4le()

            if self._io.size() >= 48:
                pass
                self.stage_beta = self._io.read_f4le()

            if self._io.size() >= 52:
                pass
                self.rotidx = self._io.read_u4le()

            if self._io.size() >= 56:
                pass
                self.dens_t = self._io.read_f4le()

            if self._io.size() >= 60:
                pass
                self.dens_t_set = self._io.read_f4le()

            if self._io.size() >= 64:
                pass
                self.dens_power = self._io.read_f4le()

            if self._io.size() >= 68:
                pass
                self.objective = self._io.read_f4le()

            if self._io.size() >= 72:
                pass
                self.scan_x = self._io.read_f4le()

            if self._io.size() >= 76:
                pass
                self.scan_y = self._io.read_f4le()

            if self._io.size() >= 80:
                pass
                self.bias_u_set = self._io.read_f4le()

            if self._io.size() >= 84:
                pass
                self.bias_u = self._io.read_f4le()

            if self._io.size() >= 88:
                pass
                self.bias_i_set = self._io.read_f4le()

            if self._io.size() >= 92:
                pass
                self.bias_i = self._io.read_f4le()

            if self._io.size() >= 96:
                pass
                self.bias_e_set = self._io.read_f4le()

            if self._io.size() >= 100:
                pass
                self.bias_r = self._io.read_f4le()

            if self._io.size() >= 104:
                pass
                self.bias_limit_u = self._io.read_f4le()

            if self._io.size() >= 108:
                pass
                self.bias_limit_i = self._io.read_f4le()



        def _fetch_instances(self):
            pass
            if self._io.size() >= 16:
                pass

            if self._io.size() >= 20:
                pass

            if self._io.size() >= 24:
                pass

            if self._io.size() >= 28:
                pass

            if self._io.size() >= 32:
                pass

            if self._io.size() >= 36:
                pass

            if self._io.size() >= 40:
                pass

            if self._io.size() >= 44:
                pass

            if self._io.size() >= 48:
                pass

            if self._io.size() >= 52:
                pass

            if self._io.size() >= 56:
                pass

            if self._io.size() >= 60:
                pass

            if self._io.size() >= 64:
                pass

            if self._io.size() >= 68:
                pass

            if self._io.size() >= 72:
                pass

            if self._io.size() >= 76:
                pass

            if self._io.size() >= 80:
                pass

            if self._io.size() >= 84:
                pass

            if self._io.size() >= 88:
                pass

            if self._io.size() >= 92:
                pass

            if self._io.size() >= 96:
                pass

            if self._io.size() >= 100:
                pass

            if self._io.size() >= 104:
                pass

            if self._io.size() >= 108:
                pass



    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tvips.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.len_header = self._io.read_u4le()
            self.version = self._io.read_u4le()
            if not  ((self.version == 1) or (self.version == 2)) :
                raise kaitaistruct.ValidationNotAnyOfError(self.version, self._io, u"/types/header/seq/1")
            self.width = self._io.read_u4le()
            self.height = self._io.read_u4le()
            self.bits = self._io.read_u4le()
            self.offset_x = self._io.read_u4le()
            self.offset_y = self._io.read_u4le()
            self.binning_x = self._io.read_u4le()
            self.binning_y = self._io.read_u4le()
            self.pixel_size = self._io.read_u4le()
            self.high_tension = self._io.read_u4le()
            self.magnification = self._io.read_u4le()
            self.len_frame_header = self._io.read_u4le()
            self.filler = self._io.read_bytes(204)


        def _fetch_instances(self):
            pass


    @property
    def len_frame_header(self):
        """Bytes before the pixels of each frame."""
        if hasattr(self, '_m_len_frame_header'):
            return self._m_len_frame_header

        self._m_len_frame_header = (12 if self.header.version == 1 else self.header.len_frame_header)
        return getattr(self, '_m_len_frame_header', None)

    @property
    def len_pixels(self):
        """Bytes of pixels of each frame."""
        if hasattr(self, '_m_len_pixels'):
            return self._m_len_pixels

        self._m_len_pixels = (self.header.width * self.header.height) * (self.header.bits // 8)
        return getattr(self, '_m_len_pixels', None)

    @property
    def num_frames(self):
        """Number of complete frames in this file."""
        if hasattr(self, '_m_num_frames'):
            return self._m_num_frames

        self._m_num_frames = (self._io.size() - self.header.len_header) // (self.len_frame_header + self.len_pixels)
        return getattr(self, '_m_num_frames', None)


