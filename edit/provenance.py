"""Edited pictures that say what they are: synthetic, from what, with which settings.

A picture carries its facts as text (PNG's ``ris`` chunk, EXIF's user comment, a GIF's comment)
and, for programs that look for it, the digital source type that IPTC defined for composites with
generated content, in an XMP packet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, PngImagePlugin

from ris.data.durable import disk_error, replacing
from ris.data.synthetic import NOTE
from ris.errors import InputError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for pictures that are in part made by a trained model."""
SOFTWARE, DESCRIPTION, USER_COMMENT = 0x0131, 0x010E, 0x9286
EXIF_FOLDER = 0x8769
KEY = "ris"
STILLS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}


def save_edit(
    picture: Image.Image,
    path: Path,
    facts: Mapping[str, Any],
    *,
    frames: Sequence[Image.Image] = (),
    milliseconds: int = 120,
    mark: bool = True,
) -> None:
    """Writes a picture or an animation with its provenance; folders are made.

    Args:
        picture: what to write; of an animation the first frame.
        path: its suffix says the format.
        facts: ready for JSON.
        frames: further frames.
        milliseconds: that each frame is shown.
        mark: False leaves the provenance out.

    Raises:
        InputError: a suffix of no known format.
        StoreError: it cannot be written.
    """
    known = ANIMATED if frames else STILLS
    suffix = path.suffix.lower()
    if suffix not in known:
        what = "an animation" if frames else "an edited picture"
        raise InputError(f"{path}: {what} is written as {', '.join(known)}")
    # of PNG: level 6 takes thrice the time for files as large
    options: dict[str, Any] = {"quality": 95, "compress_level": 4}
    if frames:
        options |= {
            "save_all": True,
            "append_images": list(frames),
            "duration": milliseconds,
            "loop": 0,
        }
    if mark:
        options |= _marks(known[suffix], facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            picture.save(temporary, known[suffix], **options)
    except OSError as e:
        raise disk_error(e, path) from e


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts that `save_edit` wrote; None where there are none."""
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
