# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/npy.ksy, compiler 0.11.0.
# sha256 of the specification: 07aa1489c58d9e5cbab56e9426c23fbf683761fdcf292cee782c61c6fefa9d3f
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Npy(KaitaiStruct):
    """One array: a short binary preamble, the description of the array as the text of a Python
    dictionary, then the elements without gaps.
    
    The dictionary has exactly three keys. `descr` is the element type in NumPy's notation, byte
    order included, for example `'<u2'`; a list of fields for structured arrays. `fortran_order` is
    True if the first index varies fastest in the file. `shape` is a tuple of integers. It is a
    literal and must be read as one, without evaluating it.
    
    Arrays of Python objects (`'|O'`) hold a pickle in place of elements. A reader of recordings has
    no reason to accept them.
    
    .. seealso::
       Source - https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Npy, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.magic = self._io.read_bytes(6)
        if not self.magic == b"\x93\x4E\x55\x4D\x50\x59":
            raise kaitaistruct.ValidationNotEqualError(b"\x93\x4E\x55\x4D\x50\x59", self.magic, self._io, u"/seq/0")
        self.version_major = self._io.read_u1()
        if not  ((self.version_major == 1) or (self.version_major == 2) or (self.version_major == 3)) :
            raise kaitaistruct.ValidationNotAnyOfError(self.version_major, self._io, u"/seq/1")
        self.version_minor = self._io.read_u1()
        if self.version_major == 1:
            pass
            self.len_header_short = self._io.read_u2le()

        if self.version_major >= 2:
            pass
            self.len_header_long = self._io.read_u4le()

        if self.version_major <= 2:
            pass
            self.header_latin1 = (self._io.read_bytes(self.len_header)).decode(u"ISO-8859-1")

        if self.version_major == 3:
            pass
            self.header_utf8 = (self._io.read_bytes(self.len_header)).decode(u"UTF-8")

        self.data = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        if self.version_major == 1:
            pass

        if self.version_major >= 2:
            pass

        if self.version_major <= 2:
            pass

        if self.version_major == 3:
            pass


    @property
    def header(self):
        """Dictionary as text, padded with spaces and ended by a line feed."""
        if hasattr(self, '_m_header'):
            return self._m_header

        self._m_header = (self.header_utf8 if self.version_major == 3 else self.header_latin1)
        return getattr(self, '_m_header', None)

    @property
    def len_header(self):
        """Length of the header in bytes."""
        if hasattr(self, '_m_len_header'):
            return self._m_len_header

        self._m_len_header = (self.len_header_short if self.version_major == 1 else self.len_header_long)
        return getattr(self, '_m_len_header', None)

    @property
    def ofs_data(self):
        """Where the elements start. A multiple of 64 in files written by NumPy 1.14 and later, of 16
        before; readers should not rely on either.
        """
        if hasattr(self, '_m_ofs_data'):
            return self._m_ofs_data

        self._m_ofs_data = (10 if self.version_major == 1 else 12) + self.len_header
        return getattr(self, '_m_ofs_data', None)


