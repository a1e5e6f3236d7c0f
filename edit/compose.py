"""What `ris transfer` makes: one picture, a comparison, a strip or animation over alpha, a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from ris.data.manifest import Manifest
from ris.data.shards import vectors
from ris.data.store import Store
from ris.edit.drawing import heat_map, pictures, render, strip, transfer_grid
from ris.edit.feature_edits import Editor, TransferOptions
from ris.edit.paste import Blend, border_mask, change_mask, paste
from ris.edit.subjects import Subject, edit_embedder, edit_scores, from_face, seed_subject
from ris.errors import ImageError, InputError
from ris.index.rows import row_tensors
from ris.ingest.pictures.decode import decode
from ris.ingest.session import Session
from ris.method.contribution import AverageScores
from ris.method.eis import AVERAGED_FACES, EisOptions
from ris.method.transfer import ALPHA
from ris.query.searcher import search

TILE = 256
"""Pixels of a face in strips and grids."""


@dataclass(frozen=True)
class Studio:
    """A generator, its editor, and what pictures are made with.

    Attributes:
        session: models and options.
        editor: makes the edits.
    """

    session: Session
    editor: Editor

    @classmethod
    def of_session(cls, session: Session, options: TransferOptions | None = None) -> Studio:
        """A studio for faces that a session reads."""
        settings = edit_embedder(session).settings()
        editor = Editor(settings.covered, settings.classes, options or TransferOptions())
        return cls(session, editor)

    def with_averaged_masks(self, average: torch.Tensor, eis: EisOptions) -> Studio:
        """The same studio, editing by EIS."""
        options = replace(self.editor.options, average=average, eis=eis)
        return replace(self, editor=replace(self.editor, options=options))

    def edited(
        self,
        source: Subject,
        reference: Subject,
        features: Mapping[str, float],
        alphas: Sequence[float] = (ALPHA,),
    ) -> torch.Tensor:
        """(A, 3, S, S) in [-1, 1]: the edited face, one picture for each alpha."""
        return render(
            self.session.generator, self.editor.transfer(source, reference, features, alphas)
        )

    def drawn(self, subject: Subject) -> torch.Tensor:
        """(3, S, S) in [-1, 1]: a face as the generator draws it."""
        return render(self.session.generator, subject.sigma[None])[0]

    def facts(
        self,
        sources: Sequence[Subject],
        references: Sequence[Subject],
        features: Mapping[str, float],
        alphas: Sequence[float],
    ) -> dict[str, Any]:
        """What a picture says about how it was made, ready for JSON."""
        options = self.editor.options
        mask = options.mask if options.average is None else options.eis
        return {
            "synthetic": True,
            "sources": [s.name for s in sources],
            "references": [r.name for r in references],
            "features": dict(features),
            "alpha": list(alphas),
            "method": options.method,
            "rule": options.rule,
            "mask": vars(mask),
            "generator": self.session.generator.fingerprint,
            "catalogue": self.session.catalogue.fingerprint,
        }


def average_scores(
    session: Session,
    store: Store | None = None,
    *,
    faces: int = AVERAGED_FACES,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """(K, C') scores averaged over faces: a store's first ones, or else of the generator's.

    Args:
        session: models and options.
        store: its faces are taken if there are enough.
        faces: how many.
        progress: called with faces done and faces in all.
    """
    if store is not None and store.manifest().rows >= faces:
        embedder = edit_embedder(session)

        def read(manifest: Manifest) -> torch.Tensor:
            average = AverageScores()
            for code, scores in _first_rows(store, manifest, faces):
                average.add(edit_scores(code, scores, embedder)[None])
                if progress:
                    progress(average.count, faces)
            return average.mean()

        return store.consistently(read)
    average = AverageScores()
    for seed in range(faces):
        average.add(seed_subject(f"seed:{seed}", session).scores[None])
        if progress:
            progress(seed + 1, faces)
    return average.mean()


def _first_rows(
    store: Store, manifest: Manifest, faces: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(L, 512) code and (K, C') scores of each of a store's first faces."""
    settings = store.settings
    for batch in store.batches(["w", "sigma", "scores"], manifest):
        scores = row_tensors(batch, settings)[1]
        codes = torch.tensor(vectors(batch, "w")).view(len(batch), settings.latent_rows, -1)
        for row in zip(codes, scores, strict=True):
            yield row
            faces -= 1
            if not faces:
                return


def from_query(
    store: Store, source: str, features: Mapping[str, float], rank: int, session: Session
) -> Subject:
    """The reference that a search finds: the face of a rank, or of the far end if negative.

    Raises:
        InputError: rank 0, or fewer faces than that.
        RisError: see `ris.query.searcher.search`.
    """
    if rank == 0:
        raise InputError("--from-query counts from 1, and from -1 for the least alike")
    found = search(store, source, features, k=abs(rank), reader=session)
    matches = found.nearest if rank > 0 else found.furthest
    if len(matches) < abs(rank):
        raise InputError(f"the search found {len(matches)} faces, there is no rank {rank}")
    from ris.query.query_face import query_face

    return from_face(query_face(store, matches[abs(rank) - 1].id), session)


def comparison(
    studio: Studio,
    source: Subject,
    reference: Subject,
    features: Mapping[str, float],
    alpha: float = ALPHA,
    size: int | None = None,
) -> Image.Image:
    """Before, the reference, after, and what changed, at the generator's size unless reduced."""
    before = studio.drawn(source)
    after = studio.edited(source, reference, features, [alpha])[0]
    other = studio.drawn(reference)
    tiles = pictures(torch.stack([before, other, after]), size)
    heat = heat_map(before, after)
    tiles.append(heat.resize(tiles[0].size, Image.Resampling.LANCZOS))
    return strip(
        tiles, ["source", f"reference: {' '.join(features)}", f"alpha {alpha:g}", "change"]
    )


def alpha_strip(
    studio: Studio,
    source: Subject,
    reference: Subject,
    features: Mapping[str, float],
    alphas: Sequence[float],
    size: int = TILE,
) -> tuple[Image.Image, list[Image.Image]]:
    """A captioned strip over alpha (Fig. 5 of the paper), and its pictures as frames."""
    frames = pictures(studio.edited(source, reference, features, alphas), size)
    return strip(frames, [f"alpha {a:g}" for a in alphas]), frames


def feature_grid(
    studio: Studio,
    sources: Sequence[Subject],
    references: Sequence[Subject],
    features: Mapping[str, float],
    alpha: float = ALPHA,
    size: int = TILE,
) -> Image.Image:
    """Sources down, references across, for every feature (Fig. 4 of the paper)."""

    def tile(i: int, j: int, feature: str) -> Image.Image:
        one = {feature: features[feature]}
        return pictures(studio.edited(sources[i], references[j], one, [alpha]), size)[0]

    return transfer_grid(
        pictures(torch.stack([studio.drawn(s) for s in sources]), size),
        pictures(torch.stack([studio.drawn(r) for r in references]), size),
        [r.name for r in references],
        tile,
        list(features),
    )


def pasted(
    studio: Studio,
    source: Subject,
    reference: Subject,
    features: Mapping[str, float],
    alpha: float = ALPHA,
    blend: Blend = "crop",
) -> Image.Image:
    """The edited face back in the source's photo.

    Args:
        studio: makes the edit.
        source: must come from a photo.
        reference: whose features it gets.
        features: weight of each feature.
        alpha: how far to go.
        blend: ``crop`` puts the whole crop back, fading at its border; ``change`` only what the
            edit changed, so that the rest stays as it is in the photo.

    Raises:
        InputError: the source is no photo, or the photo cannot be read any more.
    """
    if source.path is None:
        raise InputError(f"{source.name} is no photo, so there is nothing to paste back into")
    after = studio.edited(source, reference, features, [alpha])[0]
    mask = (
        border_mask(after.shape[-1])
        if blend == "crop"
        else change_mask(studio.drawn(source), after)
    )
    try:
        photo = decode(source.path)
    except ImageError as e:
        raise InputError(f"{source.path}: {e.reason}") from e
    quad = None if source.quad is None else source.quad / photo.scale
    return paste(photo.picture, pictures(after[None])[0], mask, quad)
