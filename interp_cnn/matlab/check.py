"""Checks the structure of a MATLAB 5 file before SciPy reads it.

SciPy's reader trusts the sizes and types of a file: one wrong byte can end the whole process by a
segmentation fault. Here every element is looked at, and what does not fit is a ValueError. The
values themselves are not read. The format: MAT-File Level 5, "MAT-File Format", MathWorks.
"""

import math
import mmap
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# Bytes of one value by type: int8 ... uint32, single, double, int64, uint64, UTF-8, -16, -32.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION = 1, 2, 3, 4, 5, 16
_NUMERIC = range(6, 16)
_TEXT = (1, 2, 4, 16, 17, 18)
_DEEPEST = 40
_COMPLEX = 0x0800


class _Element(NamedTuple):
    """The type of an element, where its content lies, and where the next one begins."""

    kind: int
    start: int
    size: int
    next: int


def check_mat5(path: Path) -> None:
    """Check every element of a MATLAB 5 file.

    Raises:
      ValueError: where an element does not fit the others; the message says which byte.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size <= _HEADER:
            raise ValueError(f"it has {size} bytes")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            mark = content[126:128]
            if mark not in (b"IM", b"MI") or content[:4] == b"\0\0\0\0":
                raise ValueError("it has no header of MATLAB 5")
            with memoryview(content) as data:
                _Checker(data, "<" if mark == b"IM" else ">").variables(_HEADER)


class _Checker:
    """Walks over elements; `data` holds them, `order` is that of their bytes."""

    def __init__(self, data: memoryview | bytes, order: str):
        self.data = data
        self.order = order

    def variables(self, at: int) -> None:
        """All variables from a byte to the end."""
        while at < len(self.data):
            element = self.element(at, len(self.data), padded=False)
            if element.kind == _COMPRESSED:
                content = self.data[element.start : element.start + element.size]
                try:
                    plain = zlib.decompress(content)
                except zlib.error as error:
                    raise ValueError(f"byte {at}: {error}") from error
                inner = _Checker(plain, self.order)
                inner.matrix(inner.element(0, len(plain)), 0)
            else:
                self.matrix(element, 0)
            at = element.next

    def numbers(self, at: int, count: int, kind: str) -> tuple[int, ...]:
        return struct.unpack_from(f"{self.order}{count}{kind}", self.data, at)

    def element(self, at: int, end: int, *, padded: bool = True) -> _Element:
        """The element at a byte, which must end before another."""
        if at + 8 > end:
            raise ValueError(f"byte {at}: an element is cut off")
        kind, size = self.numbers(at, 2, "I")
        if kind >> 16:  # a small one: its size, its type, and at most four bytes
            size, kind = kind >> 16, kind & 0xFFFF
            if size > 4:
                raise ValueError(f"byte {at}: a small element has {size} bytes")
            start, after = at + 4, at + 8
        else:
            start = at + 8
            after = start + size
            if padded or kind != _COMPRESSED:
                after += -size % 8
        if kind not in (*_BYTES, _MATRIX, _COMPRESSED) or start + size > end:
            raise ValueError(f"byte {at}: an element of type {kind} has {size} bytes")
        return _Element(kind, start, size, min(after, end))

    def values(self, at: int, end: int, *, kinds: tuple[int, ...] = tuple(_BYTES)) -> _Element:
        """An element of plain values, a whole number of them."""
        element = self.element(at, end)
        if element.kind not in kinds or element.size % _BYTES[element.kind]:
            raise ValueError(f"byte {at}: {element.size} bytes of type {element.kind}")
        return element

    def matrix(self, element: _Element, depth: int) -> None:
        """An array of any class with all that it holds."""
        if element.kind != _MATRIX or depth > _DEEPEST:
            raise ValueError(f"byte {element.start}: type {element.kind}, {depth} levels deep")
        if not element.size:
            return  # an empty array
        end = element.start + element.size
        flags = self.values(element.start, end, kinds=(6,))
        if flags.size != 8:
            raise ValueError(f"byte {element.start}: {flags.size} bytes of flags")
        flag = self.numbers(flags.start, 1, "I")[0]
        sizes = self.values(flags.next, end, kinds=(5,))
        dimensions = self.numbers(sizes.start, sizes.size // 4, "i")
        if len(dimensions) < 2 or min(dimensions) < 0:
            raise ValueError(f"byte {sizes.start}: dimensions {dimensions}")
        name = self.values(sizes.next, end, kinds=(1, 2, 16))
        self.content(flag, math.prod(dimensions), name.next, end, depth)

    def content(self, flag: int, count: int, at: int, end: int, depth: int) -> None:
        """What stands behind the name of an array with `count` entries."""
        kind = flag & 0xFF
        if kind in _NUMERIC:
            for _ in range(2 if flag & _COMPLEX else 1):
                element = self.values(at, end)
                if element.size // _BYTES[element.kind] != count:
                    raise ValueError(f"byte {at}: {element.size} bytes for {count} values")
                at = element.next
        elif kind == _CHAR:
            # Characters may have several bytes.
            if self.values(at, end, kinds=_TEXT).size < count:
                raise ValueError(f"byte {at}: too few bytes for {count} characters")
        elif kind == _SPARSE:  # rows, columns and values of what is not zero
            for _ in range(4 if flag & _COMPLEX else 3):
                at = self.values(at, end).next
        elif kind == _FUNCTION:
            self.matrix(self.element(at, end), depth + 1)
        elif kind in (_CELL, _STRUCT, _OBJECT):
            if kind == _OBJECT:
                at = self.values(at, end, kinds=(1, 2, 16)).next
            if kind != _CELL:
                fields, at = self.fields(at, end)
                count *= fields
            if count > (end - at) // 8:
                raise ValueError(f"byte {at}: {count} entries in {end - at} bytes")
            for _ in range(count):
                element = self.element(at, end)
                self.matrix(element, depth + 1)
                at = element.next
        else:
            raise ValueError(f"byte {at}: an array of class {kind}, which is not read")

    def fields(self, at: int, end: int) -> tuple[int, int]:
        """Number of the fields of a struct, and where their values begin."""
        length = self.values(at, end, kinds=(5,))
        names = self.values(length.next, end, kinds=(1, 2, 16))
        each = self.numbers(length.start, 1, "i")[0] if length.size == 4 else 0
        if not 0 < each <= 64 or names.size % each:
            raise ValueError(f"byte {at}: field names of {each} bytes in {names.size}")
        return names.size // each, names.next
