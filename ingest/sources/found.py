"""What a search for photos comes upon: a file to look at, or one that is left out or fails."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

NOT_A_PICTURE = "not a picture"
HIDDEN = "hidden"
THUMBNAILS = "in a thumbnail or recycle folder"
LINK = "link to a folder"
SPECIAL = "pipe, socket or device"
FOLDER = "folder that a pattern matches"
COMMENT = "comment in a list"
EDITED = "edited by RIS"
DRAWN = "sheet or figure drawn by RIS"


class Found(NamedTuple):
    """A file that an argument leads to.

    Attributes:
        path: where it is.
        named: an argument or a list names the file itself, so that it fails where it is no
            picture; a file that a folder or pattern leads to is then passed over.
        left_out: why it is not looked at, one of the words above; "" if it is.
        error: why it cannot be looked at, such as a folder that cannot be read; "" if it can.
        files: how many files it stands for: a folder that is left out stands for those in it.
    """

    path: Path
    named: bool = False
    left_out: str = ""
    error: str = ""
    files: int = 1
