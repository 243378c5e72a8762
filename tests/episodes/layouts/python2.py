"""Pickles as Python 2 and NumPy 1 wrote them with protocol 2: byte strings, old module names."""

import io
import pickle
import struct
from typing import Any

MODULES = {b"numpy._core.multiarray": b"numpy.core.multiarray"}


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes str and bytes alike with the opcodes of Python 2's `str`."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, text: str | bytes) -> None:
        content = text if isinstance(text, bytes) else text.encode("latin1")
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def dumps(value: Any) -> bytes:
    """`value` of dicts, lists, strings, numbers and arrays, as Python 2 would have pickled it."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(value)
    content = file.getvalue()
    for new, old in MODULES.items():
        content = content.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    return content
