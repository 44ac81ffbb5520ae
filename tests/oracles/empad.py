# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/empad.ksy, compiler 0.11.0.
# sha256 of the specification: 5f8e651d0ce104722904c9643594a76cf3b8980d1a90ec1cc07188fe0ef2c87e
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Empad(KaitaiStruct):
    """The data file of a recording of the Electron Microscope Pixel Array Detector, first generation.
    It has no header: frames follow each other until the end of the file. The shape of the scan is in
    the .xml beside it (see empad_xml.md).
    
    Data files of the second generation (EMPAD-G2) have no footer: each frame is 128 x 128 words of
    32 bits. Exported, these are floating-point pixels. As acquired, bits 0-13 of a word are the
    analog value, bits 14-29 the counter, bit 30 is always set, bit 31 is the gain flag.
    
    .. seealso::
       Source - https://hyperspy.org/rosettasciio/supported_formats/empad.html
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Empad, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.frames = []
        for i in range(self.num_frames):
            self.frames.append(Empad.Frame(self._io, self, self._root))



    def _fetch_instances(self):
        pass
        for i in range(len(self.frames)):
            pass
            self.frames[i]._fetch_instances()


    class Frame(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Empad.Frame, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.pixels = self._io.read_bytes(65536)
            self.footer = self._io.read_bytes(1024)


        def _fetch_instances(self):
            pass


    @property
    def num_frames(self):
        """Number of complete frames."""
        if hasattr(self, '_m_num_frames'):
            return self._m_num_frames

        self._m_num_frames = self._io.size() // 66560
        return getattr(self, '_m_num_frames', None)


