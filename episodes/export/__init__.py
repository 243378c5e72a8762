"""Exports: a set of episodes frozen in a folder that any language reads, without this package."""

from episodes.export.checking import check
from episodes.export.description import FORMATS, ExportedFile, ExportInfo, read_info
from episodes.export.piping import STREAMED, streamed
from episodes.export.replaying import read_plan
from episodes.export.writing import export

__all__ = [
    "FORMATS",
    "STREAMED",
    "ExportInfo",
    "ExportedFile",
    "check",
    "export",
    "read_info",
    "read_plan",
    "streamed",
]
