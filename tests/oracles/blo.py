# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/blo.ksy, compiler 0.11.0.
# sha256 of the specification: 8a8338f9a80a5af3c4be6206bdd209c21c1cf817ca2b39db17cc7f9ce9589bcf
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Blo(KaitaiStruct):
    """A header, a text note, an image of the scan, and a record with a square diffraction pattern for
    each scan position, fast axis first.
    
    Files of signature 258 have pixels of 8 bits. Files of signature 259 may have more, which a line
    of the note says: "Blo Bit Depth: 16 bits". Where the size of the file says otherwise, it is right.
    
    The gap between the image of the scan and the first record differs from file to file.
    
    .. seealso::
       Source - https://hyperspy.org/rosettasciio/supported_formats/blockfile.html
    """
    def __init__(self, bits, _io, _parent=None, _root=None):
        super(Blo, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self.bits = bits
        self._read()

    def _read(self):
        self.header = Blo.Header(self._io, self, self._root)
        self.note = self._io.read_bytes(self.header.ofs_image - 240)
        self.image = self._io.read_bytes(self.header.num_x * self.header.num_y)
        self.gap = self._io.read_bytes((self.header.ofs_records - self.header.ofs_image) - self.header.num_x * self.header.num_y)
        self.records = []
        for i in range(self.num_records):
            self.records.append(Blo.Record(self._io, self, self._root))

        self.remainder = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        for i in range(len(self.records)):
            pass
            self.records[i]._fetch_instances()


    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Blo.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.magic = self._io.read_bytes(6)
            if not self.magic == b"\x49\x4D\x47\x42\x4C\x4F":
                raise kaitaistruct.ValidationNotEqualError(b"\x49\x4D\x47\x42\x4C\x4F", self.magic, self._io, u"/types/header/seq/0")
            self.signature = self._io.read_u2le()
            if not  ((self.signature == 258) or (self.signature == 259)) :
                raise kaitaistruct.ValidationNotAnyOfError(self.signature, self._io, u"/types/header/seq/1")
            self.ofs_image = self._io.read_u4le()
            self.ofs_records = self._io.read_u4le()
            self.unknown = self._io.read_u4le()
            self.edge = self._io.read_u2le()
            self.pattern_rotation = self._io.read_u2le()
            self.num_x = self._io.read_u2le()
            self.num_y = self._io.read_u2le()
            self.scan_rotation = self._io.read_u2le()
            self.step_x = self._io.read_f8le()
            self.step_y = self._io.read_f8le()
            self.beam_energy = self._io.read_u4le()
            self.pixel_density = self._io.read_u2le()
            self.camera_length = self._io.read_u4le()
            self.acquisition_time = self._io.read_f8le()
            self.centering = []
            for i in range(8):
                self.centering.append(self._io.read_f8le())

            self.distortion = []
            for i in range(14):
                self.distortion.append(self._io.read_f8le())



        def _fetch_instances(self):
            pass
            for i in range(len(self.centering)):
                pass

            for i in range(len(self.distortion)):
                pass



    class Record(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Blo.Record, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.mark = self._io.read_bytes(2)
            if not self.mark == b"\xAA\x55":
                raise kaitaistruct.ValidationNotEqualError(b"\xAA\x55", self.mark, self._io, u"/types/record/seq/0")
            self.number = self._io.read_u4le()
            self.pixels = self._io.read_bytes(self._root.len_pixels)


        def _fetch_instances(self):
            pass


    @property
    def len_pixels(self):
        """Bytes of a pattern."""
        if hasattr(self, '_m_len_pixels'):
            return self._m_len_pixels

        self._m_len_pixels = (self.header.edge * self.header.edge) * (self.bits // 8)
        return getattr(self, '_m_len_pixels', None)

    @property
    def num_records(self):
        """Number of complete records."""
        if hasattr(self, '_m_num_records'):
            return self._m_num_records

        self._m_num_records = (self._io.size() - self.header.ofs_records) // (self.len_pixels + 6)
        return getattr(self, '_m_num_records', None)


