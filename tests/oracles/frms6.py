# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/frms6.ksy, compiler 0.11.0.
# sha256 of the specification: 4cc3be82e976050f1d42bd983a0bff29476c8799113654bc9311494a780e479a
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Frms6(KaitaiStruct):
    """Frames of a pnCCD camera of PNDetector or pnSensor, each with a header. A recording is a text
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
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Frms6, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.header = Frms6.Header(self._io, self, self._root)
        if self.header.num_frames != 0:
            pass
            self.frames = []
            for i in range(self.header.num_frames):
                self.frames.append(Frms6.Frame(self._io, self, self._root))


        if self.header.num_frames == 0:
            pass
            self.frames_to_end = []
            i = 0
            while not self._io.is_eof():
                self.frames_to_end.append(Frms6.Frame(self._io, self, self._root))
                i += 1




    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        if self.header.num_frames != 0:
            pass
            for i in range(len(self.frames)):
                pass
                self.frames[i]._fetch_instances()


        if self.header.num_frames == 0:
            pass
            for i in range(len(self.frames_to_end)):
                pass
                self.frames_to_end[i]._fetch_instances()



    class Frame(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Frms6.Frame, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.header = Frms6.FrameHeader(self._io, self, self._root)
            self.pixels = self._io.read_bytes((2 * self._root.header.width) * self.rows)


        def _fetch_instances(self):
            pass
            self.header._fetch_instances()

        @property
        def rows(self):
            """Rows that are stored."""
            if hasattr(self, '_m_rows'):
                return self._m_rows

            self._m_rows = (self.header.the_height if self.header.the_height != 0 else self._root.header.max_height)
            return getattr(self, '_m_rows', None)


    class FrameHeader(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Frms6.FrameHeader, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.start = self._io.read_u1()
            self.info = self._io.read_u1()
            self.ccd_id = self._io.read_u1()
            self.height8 = self._io.read_u1()
            self.tv_sec = self._io.read_u4le()
            self.tv_usec = self._io.read_u4le()
            self.index = self._io.read_u4le()
            self.temperature = self._io.read_f8le()
            self.the_start = self._io.read_u2le()
            self.the_height = self._io.read_u2le()
            self.external_id = self._io.read_u4le()
            self.bunch_id = self._io.read_u8le()
            self.fill = self._io.read_bytes(24)


        def _fetch_instances(self):
            pass


    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Frms6.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.my_length = self._io.read_u2le()
            if not self.my_length == 1024:
                raise kaitaistruct.ValidationNotEqualError(1024, self.my_length, self._io, u"/types/header/seq/0")
            self.frame_header_length = self._io.read_u2le()
            if not self.frame_header_length == 64:
                raise kaitaistruct.ValidationNotEqualError(64, self.frame_header_length, self._io, u"/types/header/seq/1")
            self.n_ccds = self._io.read_u1()
            self.width8 = self._io.read_u1()
            self.max_height8 = self._io.read_u1()
            self.version = self._io.read_u1()
            if not self.version == 6:
                raise kaitaistruct.ValidationNotEqualError(6, self.version, self._io, u"/types/header/seq/5")
            self.dataset_id = self._io.read_bytes(80)
            self.width = self._io.read_u2le()
            self.max_height = self._io.read_u2le()
            self.fill = self._io.read_bytes(928)
            self.num_frames = self._io.read_u4le()


        def _fetch_instances(self):
            pass



