"""`ris models`: the files of models."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ris.commands.options import JsonOption
from ris.commands.terminal import print_json
from ris.errors import InputError


class ModelsAction(str, Enum):
    """What `ris models` does."""

    list = "list"
    pull = "pull"
    convert = "convert"


def models(
    action: Annotated[
        ModelsAction, typer.Argument(help="list, pull or convert")
    ] = ModelsAction.list,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="To pull (default: all that are not optional), or convert: FROM TO."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Check files in place; fetch wrong ones.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List model files with origin and licence, pull them (also done on first need), or convert
    a StyleGAN2 checkpoint (.pt, .pkl, .safetensors) into another form (.pt, .safetensors).

    Example: ris models pull
    """
    if action is ModelsAction.convert:
        _convert(names or [], as_json)
        return
    from ris.data.models.registry import model_file, models_folder, pull, registry, state

    wanted = [model_file(n) for n in names or ()] or [
        m for m in registry().values() if not (action is ModelsAction.pull and m.optional)
    ]
    entries = []
    for model in wanted:
        if action is ModelsAction.pull:
            pull(model, force=force)
        facts = {k: getattr(model, k) for k in ("name", "purpose", "licence", "author", "source")}
        facts |= {model.origin: f"{model.package}=={model.version}", "optional": model.optional}
        entries.append(facts | {"state": state(model)})
    if as_json:
        print_json({"folder": models_folder(), "models": entries})
        return
    print(f"model files in {models_folder()}")
    for e in entries:
        optional = ", optional" if e["optional"] else ""
        print(f"\n{e['name']}  [{e['state']}{optional}]\n  {e['purpose']}")
        print(f"  licence  {e['licence']}, {e['author']}\n  origin   {e['source']}")
        origin = "wheel" if "wheel" in e else "npm"
        print(f"  {origin:<8} {e[origin]}")


def _convert(names: list[str], as_json: bool) -> None:
    from ris.data.models.stylegan2_files import convert

    if len(names) != 2:
        raise InputError("convert takes two files, as in `ris models convert ffhq.pkl ffhq.pt`")
    facts = convert(Path(names[0]), Path(names[1]))
    if as_json:
        print_json(facts)
    else:
        print(f"{facts['file']}: {facts['generator']}, {facts['size']} px")
