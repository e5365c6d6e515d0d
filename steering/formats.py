"""Which kinds of pictures are read, and by what their files are known: the one table for sets, lists and single files.

Allowed are formats that Pillow decodes by itself. Those that start another program (EPS, WMF) or hold no plain picture
(PDF, FITS) are none of them.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PSD", "PPM", "PCX", "QOI", "SGI", "DDS")
ICONS = ("ICO", "ICNS")  # which Pillow decodes while it opens them: only after `rarer.plain`
NAMELESS = "TGA"  # has no mark at its start, so that anything may look like it: by the names of files alone
SPOKEN = "PNG, JPEG, WebP, AVIF, TIFF, GIF or BMP"
_LIKE = {".mpo", ".jif", ".dib"}  # begin as JPEGs and BMPs do
_TARGA = {".tga", ".icb", ".vda", ".vst"}
# Pictures as well, but of kinds that are not read: of phones and cameras, of design tools and renderers, of old.
UNREAD = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".avifs", ".jp2", ".j2k", ".jxl", ".jxr", ".svg", ".svgz", ".eps", ".ai", ".xcf",
    ".kra", ".psb", ".exr", ".hdr", ".pam", ".cur", ".ras", ".xbm", ".xpm", ".wmf", ".emf", ".pcd", ".raw", ".dng",
    ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef",
})  # fmt: skip


@cache
def endings() -> frozenset[str]:
    """The endings of files whose pictures are read: those that this Pillow knows for the formats above."""
    allowed = {*FORMATS, *ICONS, NAMELESS}
    known = {ending for ending, form in Image.registered_extensions().items() if form in allowed}
    return frozenset(known | _LIKE)


@cache
def unread_endings() -> frozenset[str]:
    """The endings of pictures that are not read, those which a Pillow of other parts would read among them."""
    return UNREAD - endings()


def formats_of(name: str) -> tuple[str, ...]:
    """What a file may be, in the order to try, by how it begins and where that says nothing by its name."""
    targa = PurePosixPath(name).suffix.lower() in _TARGA
    return (NAMELESS, *FORMATS, *ICONS) if targa else (*FORMATS, *ICONS)
