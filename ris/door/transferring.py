"""A feature of one face put on another."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.choices import ALPHA, TAU, Blend, Device, MaskMode, Method, Rule
from ris.door.missing_indices import build_missing
from ris.door.model_settings import ModelSettings, PathLike
from ris.door.words import FaceName, Features, Progress, stage, weights_of
from ris.errors import InputError
from ris.face_names import FaceId

if TYPE_CHECKING:
    from ris.data.store import Store
    from ris.edit.provenance import Edited
    from ris.ingest.loaded_models import Models


def transfer(
    source: FaceName | Sequence[FaceName],
    reference: FaceName | Sequence[FaceName],
    features: Features,
    *,
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
    generator: PathLike | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Edited:
    """Puts a feature of one face on another, without a collection.

    Args:
        source: the face to edit: a photo (a path, a PIL image, an RGB array (H, W, 3) of uint8,
            or the bytes of a picture's file), or a `ris.Seed`; in a collection's own `transfer`
            also a `ris.FaceId`. Several give a grid.
        reference: whose features it gets; likewise.
        features: one, several, or weights by feature: ``"hair"``, ``{"eyes": 1, "mouth": 0.5}``.
        alpha: how far to go: 0 stays, 1 arrives, more goes beyond.
        sweep: first and last alpha of a strip (or an animation, where it is saved as .gif or .webp)
            instead.
        steps: faces of a sweep, 2 to 200.
        compare: draw source, reference, result and what changed, side by side.
        paste: put the edit back into the source's photo: the whole ``crop``, or the ``change``.
        rule: ``paper`` (Eq. 6), or ``rescaled`` to the source's length.
        method: the masks of the two faces (``ris``), or averaged over many (``eis``).
        mask: which channels: ``score`` M > rho, ``soft`` q (Eq. 4), or ``hard`` q > 0.8.
        tau: temperature of the softmax over classes (Eq. 4).
        rho: least score M of a channel; None: 0.4, of EIS 0.2.
        epsilon: EIS's budget of a layer.
        size: pixels of a face; None: the generator's own, in sheets 256.
        out: picture to write too; a suffix that cannot be is told before anything is computed.
        mark: write into the file that the picture is synthetic, and how it was made.
        generator: weights of a StyleGAN2; None: the one that ships.
        device: where networks run: ``cpu``, ``cuda``, or ``auto``.
        progress: called as ``progress("averaging masks", done, total)``, for EIS.

    Returns:
        the picture (`picture`, a PIL image), of a sweep also its `frames`, and the `facts` that
        are written into the file; `save` writes it.

    Raises:
        InputError: a photo gives no face, an unknown feature, or options that do not go together.
        ModelFileError: a model's file is missing or cannot be fetched.
        StoreError: the picture cannot be written.

    Example:
        >>> edited = ris.transfer(ris.Seed(3), ris.Seed(7), "hair", alpha=1.3, size=64)
        >>> edited.picture.size, edited.facts["features"]
        ((64, 64), {'hair': 1.0})
        >>> edited.save("edited.png").name
        'edited.png'
    """
    models = ModelSettings(generator=generator, device=device).models()
    return make(
        models,
        None,
        source,
        reference,
        features,
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


def make(
    models: Models | Callable[[], Models],
    store: Store | None,
    source: FaceName | Sequence[FaceName],
    reference: FaceName | Sequence[FaceName] | None,
    features: Features | None,
    *,
    method: Method,
    mask: MaskMode,
    tau: float,
    rho: float | None,
    epsilon: float,
    out: PathLike | None,
    mark: bool,
    progress: Progress | None,
    **options: Any,
) -> Edited:
    """An edit; see `transfer`.

    Args:
        models: or what gives them, once all that needs none has been looked at.
        store: the collection's; None without one.
        source, reference, features: see `transfer`, like what is not named here.
        method, mask, tau, rho, epsilon, out, mark, progress: likewise.
        options: of `ris.edit.request.EditRequest`.
    """
    from ris.edit.provenance import check_suffix
    from ris.edit.request import EditRequest
    from ris.method.features import EisOptions, MaskOptions

    try:
        masks = MaskOptions(kind=mask, tau=tau, rho=MaskOptions.rho if rho is None else rho)
        eis = EisOptions(EisOptions.rho if rho is None else rho, epsilon)
    except ValueError as e:
        raise InputError(str(e)) from e
    request = EditRequest(
        sources=_several(source),
        references=_several(reference),
        features=weights_of(features),
        mask=masks,
        eis=eis if method == "eis" else None,
        **options,
    )
    target = None if out is None else Path(out)
    if target is not None:
        check_suffix(target, sweep=request.sweep is not None)
    for name in (*request.sources, *request.references):
        _check(name, there=store is not None)
    if store is not None and request.from_query is not None:
        build_missing(store, list(request.features))
    from ris.edit.editing import edit

    loaded = models() if callable(models) else models
    edited = edit(request, store, loaded, stage(progress, "averaging masks"))
    if target is not None:
        edited.save(target, mark=mark)
    return edited


def _several(given: FaceName | Sequence[FaceName] | None) -> list[FaceName]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]


def _check(name: FaceName, *, there: bool) -> None:
    """Refuses what can be no face, before anything is loaded."""
    if isinstance(name, FaceId) and not there:
        raise InputError(
            f"{name.id!r} is no photo, and there is no store to look up a face's id in"
        )
    if isinstance(name, str | os.PathLike) and not os.path.isfile(Path(name).expanduser()):
        raise InputError(f"no photo {os.fspath(name)}")
