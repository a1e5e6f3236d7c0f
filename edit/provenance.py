"""Edited pictures that say what they are: synthetic, from what, with which settings.

A picture carries its facts as text (PNG's ``ris`` chunk, EXIF's user comment, a GIF's comment)
and, for programs that look for it, the digital source type that IPTC defined for composites with
generated content, in an XMP packet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, PngImagePlugin

from ris.data.durable import disk_error, replacing
from ris.errors import InputError
from ris.ingest.pictures.formats import NOTE

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for pictures that are in part made by a trained model."""
SOFTWARE, DESCRIPTION, USER_COMMENT = 0x0131, 0x010E, 0x9286
EXIF_FOLDER = 0x8769
KEY = "ris"
STILLS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
ANIMATED = {".gif": "GIF", ".webp": "WEBP"}
"""Formats in which a sweep is an animation; in the others it is a strip."""
MILLISECONDS = 120
"""That each frame of an animation is shown."""


def check_suffix(path: Path, *, sweep: bool = False) -> None:
    """Refuses a file that no edit could be written to, before anything is computed for it.

    Args:
        path: its suffix says the format.
        sweep: whether the edit is one over alpha, which can be an animation.

    Raises:
        InputError: a suffix of no known format.
    """
    known = STILLS | (ANIMATED if sweep else {})
    if path.suffix.lower() not in known:
        raise InputError(f"{path}: this is written as {', '.join(sorted(known))}")


@dataclass(frozen=True, eq=False, repr=False)
class Edited:
    """An edited picture, and how it was made.

    Attributes:
        picture: what was asked for.
        facts: sources, references, features and settings, ready for JSON.
        frames: of a sweep its faces, one by one; the picture is their strip.
    """

    picture: Image.Image
    facts: Mapping[str, Any]
    frames: Sequence[Image.Image] = ()

    def __repr__(self) -> str:
        size = "x".join(map(str, self.picture.size))
        words = (", ".join(map(str, self.facts[k])) for k in ("features", "references", "sources"))
        return "<Edited: {} of {} on {}, {}>".format(*words, size)

    def to_dict(self) -> dict[str, Any]:
        """The facts, ready for JSON."""
        return dict(self.facts)

    def save(self, path: str | os.PathLike[str], *, mark: bool = True) -> Path:
        """Writes the picture, or of a sweep under ``.gif`` or ``.webp`` an animation that swings
        there and back again; folders are made.

        Args:
            path: its suffix says the format.
            mark: False leaves the note out that the picture is synthetic and how it was made.

        Returns:
            the path.

        Raises:
            InputError: a suffix of no known format.
            StoreError: it cannot be written.
        """
        target = Path(path)
        check_suffix(target, sweep=bool(self.frames))
        suffix, picture = target.suffix.lower(), self.picture
        # of PNG: level 6 takes thrice the time for files as large
        options: dict[str, Any] = {"quality": 95, "compress_level": 4}
        if self.frames and suffix in ANIMATED:
            picture, *others = swing(self.frames)
            options |= {
                "save_all": True,
                "append_images": others,
                "duration": MILLISECONDS,
                "loop": 0,
            }
        form = (STILLS | ANIMATED)[suffix]
        if mark:
            options |= _marks(form, self.facts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                picture.save(temporary, form, **options)
        except OSError as e:
            raise disk_error(e, target) from e
        return target


def swing(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames there and back again, so that an endless animation has no jump."""
    return [*frames, *frames[-2:0:-1]]


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts that `Edited.save` wrote; None where there are none."""
    with Image.open(path) as image:
        image.load()
        text = image.info.get(KEY)
        if text is None:
            comment = image.getexif().get_ifd(EXIF_FOLDER).get(USER_COMMENT, b"")
            text = comment[8:] if isinstance(comment, bytes) else None
        if not text and isinstance(image.info.get("comment"), bytes):
            text = image.info["comment"]
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _marks(form: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Options of Pillow's `save` that write the facts into a format."""
    text = json.dumps({"note": NOTE, **facts}, ensure_ascii=True)
    if form == "GIF":
        return {"comment": text.encode()}
    xmp = _xmp(facts)
    if form == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("Description", NOTE)
        chunks.add_text("Software", "RIS")
        chunks.add_text(KEY, text)
        chunks.add_itxt("XML:com.adobe.xmp", xmp)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif[SOFTWARE], exif[DESCRIPTION] = "RIS", NOTE
    exif.get_ifd(EXIF_FOLDER)[USER_COMMENT] = b"ASCII\0\0\0" + text.encode()
    return {"exif": exif, "xmp": xmp.encode()}


def _xmp(facts: Mapping[str, Any]) -> str:
    """An XMP packet with IPTC's digital source type."""
    about = escape(json.dumps(dict(facts), ensure_ascii=True))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        "<xmp:CreatorTool>RIS</xmp:CreatorTool>"
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">'
        f"{escape(NOTE)} {about}</rdf:li></rdf:Alt></dc:description>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )
