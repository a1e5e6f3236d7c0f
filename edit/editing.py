"""Edits: a request made into one picture, a comparison, a strip or animation over alpha, a grid, or
the photo with the edited face in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from ris.data.store import Store
from ris.edit.editor import Editor, TransferOptions
from ris.edit.paste import border_mask, change_mask, paste
from ris.edit.provenance import Edited
from ris.edit.request import EditRequest
from ris.edit.subjects import Subject, average_scores, found_subject, subject
from ris.errors import ImageError, InputError
from ris.ingest.loaded_models import Models
from ris.ingest.pictures.decode import decode
from ris.ingest.sampling import to_picture
from ris.query.tiles import grid

TILE = 256
"""Pixels of a face in strips and grids."""
HEAT = np.array(
    [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64
)
"""Colours of a heat map from nothing to much (matplotlib's inferno at 0, .25, .5, .75, 1)."""
FULL_HEAT = 0.5
"""Change, on the scale of [-1, 1] images, that is drawn in the hottest colour."""


def edit(
    request: EditRequest,
    store: Store | None = None,
    models: Models | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Edited:
    """Makes what was asked for.

    Args:
        request: what to do.
        store: for ids, searches, and photos that were ingested.
        models: by default those of the store, or the shipped ones.
        progress: called while EIS's masks are averaged, with faces done and faces in all.

    Raises:
        RisError: says what is wrong with a face, or a feature.
    """
    if models is None:
        models = Models() if store is None else Models.of_store(store)
    features = dict(request.features)
    sources = [subject(name, models, store) for name in request.sources]
    references = [subject(name, models, store) for name in request.references]
    if request.from_query is not None:
        references = [found_subject(sources[0], features, request.from_query, store, models)]
    options = TransferOptions(request.mask, request.rule)
    if request.eis is not None:
        average = average_scores(models, store, progress=progress)
        options = TransferOptions(request.mask, request.rule, average, request.eis)
    edits = _Edits(request, Editor(models, options), sources, references)
    picture, frames = edits.draw()
    facts = {
        "synthetic": True,
        "sources": [s.name for s in sources],
        "references": [r.name for r in references],
        "features": features,
        "alpha": edits.alphas,
        "method": options.method,
        "rule": options.rule,
        "mask": vars(request.eis or request.mask),
        "generator": models.generator.fingerprint,
        "catalogue": models.catalogue.fingerprint,
    }
    return Edited(picture, facts, frames)


class _Edits:
    """The pictures of one request.

    Args:
        request: what to draw.
        editor: makes the edits.
        sources: the request's sources.
        references: and its references, or the one that was searched for.
    """

    def __init__(
        self,
        request: EditRequest,
        editor: Editor,
        sources: Sequence[Subject],
        references: Sequence[Subject],
    ) -> None:
        self._request, self._editor = request, editor
        self._sources, self._references = sources, references
        self._pair = sources[0], references[0]
        self.alphas = [request.alpha]
        if request.sweep is not None:
            self.alphas = np.linspace(*request.sweep, request.steps).tolist()

    def draw(self) -> tuple[Image.Image, list[Image.Image]]:
        """The picture, and the faces of a sweep one by one."""
        request = self._request
        if request.is_grid:
            return self._grid(request.size or TILE), []
        if request.sweep is not None:
            frames = _pictures(self._edited(), request.size or TILE)
            return grid([frames], columns=[f"alpha {a:g}" for a in self.alphas]), frames
        if request.compare:
            return self._comparison(), []
        if request.paste is not None:
            return self._pasted(), []
        return to_picture(self._edited()[0], request.size), []

    def _edited(self) -> torch.Tensor:
        """(A, 3, S, S) in [-1, 1]: the first pair's edit, one image for each alpha."""
        return self._editor.edited(*self._pair, self._request.features, self.alphas)

    def _comparison(self) -> Image.Image:
        """Before, the reference, after, and what changed."""
        source, reference = self._pair
        before, after = self._editor.drawn(source), self._edited()[0]
        tiles = _pictures([before, self._editor.drawn(reference), after], self._request.size)
        heat = heat_map(before, after).resize(tiles[0].size, Image.Resampling.LANCZOS)
        captions = ["source", f"reference: {' '.join(self._request.features)}"]
        captions += [f"alpha {self._request.alpha:g}", "change"]
        return grid([[*tiles, heat]], columns=captions)

    def _grid(self, size: int) -> Image.Image:
        """Sources down, references across, once for every feature (Fig. 4 of the paper)."""
        sources = _pictures([self._editor.drawn(s) for s in self._sources], size)
        references = _pictures([self._editor.drawn(r) for r in self._references], size)
        rows: list[list[Image.Image | None]] = []
        titles: list[str] = []
        for feature, weight in self._request.features.items():
            rows.append([None, *references])
            titles.append(f"{feature} of")
            for source, picture in zip(self._sources, sources, strict=True):
                edits = [
                    self._editor.edited(source, r, {feature: weight}, self.alphas)[0]
                    for r in self._references
                ]
                rows.append([picture, *_pictures(edits, size)])
                titles.append("")
        names = [r.name for r in self._references]
        return grid(rows, columns=["source", *names], titles=titles)

    def _pasted(self) -> Image.Image:
        """The edited face back in the source's photo.

        Raises:
            InputError: the source is no photo, or the photo cannot be read any more.
        """
        source = self._pair[0]
        if source.face is None:
            raise InputError(f"{source.name} is no photo, so there is nothing to paste back into")
        after = self._edited()[0]
        mask = (
            border_mask(after.shape[-1])
            if self._request.paste == "crop"
            else change_mask(self._editor.drawn(source), after)
        )
        try:
            photo = decode(source.face.photo)
        except ImageError as e:
            raise InputError(f"{source.face.name}: {e.reason}") from e
        quad = None if source.face.quad is None else source.face.quad / photo.scale
        return paste(photo.picture, to_picture(after), mask, quad)


def heat_map(before: torch.Tensor, after: torch.Tensor) -> Image.Image:
    """Where two (3, S, S) images differ: the mean over colours of the change, as a colour."""
    change = (after - before).abs().mean(0).div(FULL_HEAT).clamp(0, 1).numpy()
    at = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(change, at, HEAT[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(colours.round().astype(np.uint8))


def _pictures(images: Sequence[torch.Tensor] | torch.Tensor, size: int | None) -> list[Image.Image]:
    """Images (3, S, S) as pictures, reduced to `size` pixels where given."""
    return [to_picture(image, size) for image in images]
