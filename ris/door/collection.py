"""A collection of faces: photos in, similar faces out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ris.choices import ALPHA, TAU, Blend, IndexKind, MaskMode, Method, NormMode, Rule
from ris.door.holdings import Contents
from ris.door.model_settings import ModelSettings, PathLike, home
from ris.door.words import FaceName, Features, Progress, names_of, weights_of
from ris.errors import InputError, RisError
from ris.face_names import FaceId
from ris.once import once

if TYPE_CHECKING:
    from ris.door.health import Verification
    from ris.door.indexing import IndexReport
    from ris.door.ingestion import IngestReport
    from ris.door.search_result import SearchResult
    from ris.edit.provenance import Edited
    from ris.ingest.loaded_models import Models
    from ris.ingest.pictures.decode import Photo
    from ris.query.query_face import QueryFace
    from ris.query.searcher import Searcher


class Collection(Contents):
    """A collection of faces, kept in a folder (``.ris``). `len` is the number of faces.

    It is opened by `ris.open` and made by `ris.create`. Any number of threads may use one, and
    other processes may add to the folder or remove from it meanwhile: every call answers for the
    state of its moment. Models and indices are loaded when they are first needed, and kept.

    Attributes:
        folder: where it is kept.
        settings: of its models.

    Example:
        >>> faces = ris.open()
        >>> len(faces)
        12
    """

    def __init__(
        self, folder: Path, settings: ModelSettings | None = None, *, as_made: bool = True
    ) -> None:
        """See `ris.open` and `ris.create`.

        Args:
            folder: where it is kept.
            settings: of the models.
            as_made: what the settings do not say is as the faces that are there were made.
        """
        super().__init__(folder)
        self.settings = settings or ModelSettings()
        self._as_made = as_made
        self._building = Lock()
        self._loading = Lock()
        self._loaded: Models | None = None  # for searches and transfers
        self._ingesting: Models | None = None  # with settings that may be refused

    @classmethod
    def at(cls, folder: PathLike | None = None, **settings: Any) -> Collection:
        """The collection in a folder, which `ingest` makes with the first faces where there is
        none yet.

        Args:
            folder: by default the nearest ``.ris`` from the working directory upward, or else one
                in the working directory.
            settings: see `create`.
        """
        return cls(home(folder), ModelSettings(**settings), as_made=False)

    @property
    def exists(self) -> bool:
        """Whether it is there already, or what is left of one (`ris.recover`)."""
        from ris.data.manifest import FILE, has_remains

        return (self.folder / FILE).is_file() or has_remains(self.folder)

    @once
    def _given(self) -> Models:
        """The models as they were chosen."""
        return self.settings.models(self._store if self._as_made else None)

    @property
    def _models(self) -> Models:
        """What reads photos as the faces were read; each is loaded when it is needed, once."""
        with self._loading:
            if self._loaded is None:
                store = self._store if self.exists else None
                self._loaded = self.settings.models(store).at(self.folder)
            return self._loaded

    @once
    def _searcher(self) -> Searcher:
        from ris.query.searcher import Searcher

        if self.settings.generator is not None:
            _ = self._models.generator  # is it the collection's?
        return Searcher(self._store, lambda: self._models)

    # -- faces in ---------------------------------------------------------------------------

    def ingest(
        self,
        photos: PathLike | Sequence[PathLike],
        *,
        latents: PathLike | None = None,
        metadata: PathLike | None = None,
        metadata_key: str | None = None,
        prune: bool = False,
        index: bool = True,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Finds the faces in photos and adds them; call it again to resume or to add what is new.

        Photos that are there already are skipped. What was committed is kept, whatever stops the
        call. Indices that there are are brought up to date afterwards.

        Args:
            photos: folders (searched with their sub-folders), photos, patterns, lists of paths
                (.txt, .lst, a column of .csv or .tsv); one or several.
            latents: codes of the photos, (N, 512) or (N, L, 512): .parquet, .npy, .npz, .pt; by
                default ``latents.parquet`` beside them, if there.
            metadata: CSV or Parquet table of your own columns, joined by file name.
            metadata_key: its column of file names; by default the one that holds the photos'.
            prune: remove the faces whose photo is gone from the folders that are named.
            index: bring the indices that there are up to date.
            progress: called as ``progress("ingesting", done, total)``, then ``"indexing"``.

        Returns:
            what became of every file. Photos that give no face are in its `failures`.

        Raises:
            InputError: nothing under a name, or codes or a table that do not fit.
            MismatchError: other models than those of the faces that are there.
            ModelFileError: a model's file is missing or cannot be fetched.
            StoreError: the collection is damaged, in use or cannot be written.

        Example:
            >>> report = faces.ingest("celebahq/", metadata="labels.csv")
            >>> report.ingested, report.failed
            (0, 0)
        """
        from ris.door.ingestion import ingest

        report, loaded = ingest(
            photos,
            self.folder,
            self._ingesting or (self._as_made and self._loaded) or self._given,
            latents=latents,
            metadata=metadata,
            metadata_key=metadata_key,
            prune=prune,
            index=index,
            progress=progress,
        )
        with self._loading:
            self._ingesting, self._loaded = loaded, self._loaded or loaded
        return report

    def index(
        self,
        features: str | Sequence[str] | None = None,
        *,
        kind: IndexKind = "auto",
        mask: MaskMode = "soft",
        tau: float = TAU,
        to_image: bool = False,
        norm: NormMode = "blend",
        memory: int | str = "4GB",
        rebuild: bool = False,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Builds the index of each feature, or adds the faces that are new to it.

        A search builds an index that is missing, with the defaults; call this for other settings.

        Args:
            features: one or several; None: eyes, nose, mouth, hair and pose.
            kind: of index: ``auto`` chooses by size; see docs.
            mask: how channels are selected: soft q (Eq. 4), q > 0.8, or M > 0.4.
            tau: temperature of the softmax over classes (Eq. 4).
            to_image: use the channels of to-image layers too.
            norm: how sigma is normalised over the collection.
            memory: that a search may hold, for ``auto``: bytes, or a text as ``"4GB"``.
            rebuild: build all anew.
            progress: called as ``progress("indexing", done, total)``.

        Raises:
            InputError: an unknown feature, kind or setting.
            StoreError: no faces, or the collection is damaged or cannot be written.

        Example:
            >>> faces.index(["eyes", "mouth"])["eyes"].faces
            12
        """
        from ris.door.indexing import build

        names = None if features is None else names_of(features)
        with self._building:
            return build(
                self._store,
                names,
                kind=kind,
                mask=mask,
                tau=tau,
                to_image=to_image,
                norm=norm,
                memory=memory,
                rebuild=rebuild,
                progress=progress,
            )

    # -- faces found ------------------------------------------------------------------------

    def search(
        self,
        photo: Photo | FaceId | None = None,
        features: Features | None = None,
        *,
        id: str | None = None,
        face: int = 0,
        k: int = 5,
        where: str | None = None,
    ) -> SearchResult:
        """Finds the faces whose feature is most, and least, like that of a photo or a stored face.

        A feature that has no index yet is indexed first. A photo whose bytes are in the collection
        is that face, nothing is computed again; any other photo is read as the faces were. The
        query's own face is left out of its results.

        Args:
            photo: a path (a text is always a path, never an id), a PIL image, an RGB array (H, W,
                3) of uint8, or the bytes of a picture's file.
            features: ``"eyes"``, ``["eyes", "mouth"]`` or ``{"eyes": 2, "mouth": 1}``. Of several
                the similarity is the weighted mean, over the faces that show all of them.
            id: of a stored face, instead of a photo; it may be abbreviated.
            face: which face of the photo: 0 is the largest, 1 the next one.
            k: number of results at each end, at least 1.
            where: SQL condition on the view ``faces``, as ``"yaw < 10"``; only faces that satisfy
                it are ranked.

        Raises:
            InputError: the photo gives no face, or an unknown feature.
            QueryError: no such id, a query that does not show a feature, or a wrong condition.
            MismatchError: the photo would be read by other models than the faces were.
            StoreError: the collection is damaged.

        Example:
            >>> found = faces.search("face.jpg", "eyes", k=3)
            >>> [match.rank for match in found.nearest]
            [1, 2, 3]
            >>> found.nearest[0].similarity > found.furthest[0].similarity
            True
            >>> faces.search(id=found.nearest[0].id, features={"eyes": 2, "mouth": 1}, k=3)
            <SearchResult by eyes:2 mouth:1: 3 nearest, best ...>
        """
        if (photo is None) == (id is None):
            raise InputError("give a photo, or the `id` of a stored face (one of the two)")
        if face < 0 or (face and (id is not None or isinstance(photo, FaceId))):
            raise InputError("the number of a face in a photo is 0 or more, and goes with a photo")
        query: Photo | FaceId | QueryFace | None = FaceId(id) if id is not None else photo
        assert query is not None
        if face and photo is not None and not isinstance(photo, FaceId):
            from ris.query.query_face import face_of_photo

            query = face_of_photo(photo, self._models, self._store, face)
        (found,) = self._search([query], features, k=k, where=where)
        if isinstance(found, RisError):
            raise found
        return found

    def search_all(
        self,
        queries: Sequence[Photo | FaceId],
        features: Features | None,
        *,
        k: int = 5,
        where: str | None = None,
    ) -> list[SearchResult | RisError]:
        """Several searches at once, with one scan of an index for all of them.

        Args:
            queries: photos, and stored faces as `ris.FaceId`.
            features: as `search`'s, like all that follows.
            k: likewise.
            where: likewise.

        Returns:
            for each query its result, or the error that it alone met: a photo without a face
            leaves the others alone.

        Raises:
            RisError: as `search`, where it is not the fault of one query.
        """
        return self._search(queries, features, k=k, where=where)

    def _search(
        self,
        queries: Sequence[Photo | FaceId | QueryFace],
        features: Features | None,
        *,
        k: int,
        where: str | None,
    ) -> list[SearchResult | RisError]:
        from ris.door.missing_indices import build_missing
        from ris.door.search_result import SearchResult

        weights, store = weights_of(features), self._store
        with self._building:
            build_missing(store, list(weights))
        found = self._searcher.search_all(queries, weights, k=k, where=where)
        return [r if isinstance(r, RisError) else SearchResult.of(store, r) for r in found]

    # -- faces edited -----------------------------------------------------------------------

    def transfer(
        self,
        source: FaceName | Sequence[FaceName],
        reference: FaceName | Sequence[FaceName] | None = None,
        features: Features | None = None,
        *,
        from_query: int | None = None,
        alpha: float = ALPHA,
        sweep: tuple[float, float] | None = None,
        steps: int = 7,
        compare: bool = False,
        paste: Blend | None = None,
        rule: Rule = "paper",
        method: Method = "ris",
        mask: MaskMode = "score",
        tau: float = TAU,
        rho: float | None = None,
        epsilon: float = 100.0,
        size: int | None = None,
        out: PathLike | None = None,
        mark: bool = True,
        progress: Progress | None = None,
    ) -> Edited:
        """Puts a feature of one face on another; see `ris.transfer` for all arguments.

        Args:
            source: the face to edit: a photo, a stored face as `ris.FaceId`, or a `ris.Seed`;
                several give a grid.
            reference: whose features it gets; likewise.
            features: one, several, or weights by feature.
            from_query: take the face of this rank of a search by the features as the reference,
                from 1 the nearest, from -1 the furthest.

        Raises:
            QueryError: no such face.
            RisError: see `ris.transfer`.

        Example:
            >>> one, other = [face.id for face in faces.faces()][:2]
            >>> faces.transfer(ris.FaceId(one), ris.FaceId(other), "eyes", size=64).picture.size
            (64, 64)
        """
        from ris.door.transferring import make

        return make(
            lambda: self._models,
            self._store if self.exists else None,
            source,
            reference,
            features,
            from_query=from_query,
            alpha=alpha,
            sweep=sweep,
            steps=steps,
            compare=compare,
            paste=paste,
            rule=rule,
            method=method,
            mask=mask,
            tau=tau,
            rho=rho,
            epsilon=epsilon,
            size=size,
            out=out,
            mark=mark,
            progress=progress,
        )

    # -- keeping it in order ----------------------------------------------------------------

    def remove(self, ids: str | Iterable[str] | None = None, *, where: str | None = None) -> int:
        """Deletes faces from the collection, never the photos. Searches stop finding them at once.

        Args:
            ids: of faces; they may be abbreviated where that is unambiguous.
            where: SQL condition on the view ``faces``, instead of ids.

        Returns:
            number of faces removed.

        Raises:
            InputError: neither or both are given.
            QueryError: no such face, or a wrong condition; nothing is removed then.
            StoreError: the collection is damaged, in use or cannot be written.

        Example:
            >>> faces.remove(where="yaw > 90")
            0
        """
        from ris.data.store import Store
        from ris.data.views import select_ids

        named = [ids] if isinstance(ids, str) else list(ids or ())
        if bool(named) == (where is not None):
            raise InputError("name ids of faces, or a condition with `where` (one of the two)")
        store = Store.open(self.folder)
        if where is not None:
            return store.remove(select_ids(store, where))
        return store.remove({store.face(name).id for name in named})

    def verify(self, *, drop_damaged: bool = False) -> Verification:
        """Reads all bytes of the collection and of its indices against their checksums, and looks
        whether the photos are still there.

        Args:
            drop_damaged: take damaged files out, so that `ingest` brings the photos of their faces
                in again.

        Returns:
            what was found; it is true where all is whole.

        Raises:
            StoreError: a file cannot be read now, so nobody knows whether it is damaged.

        Example:
            >>> bool(faces.verify())
            True
        """
        from ris.data.store import Store
        from ris.door.health import verify

        return verify(Store.open(self.folder), drop_damaged=drop_damaged)
