"""`ris models`: the files of models."""

from __future__ import annotations

from typing import Annotated

import typer

import ris
from ris.choices import ModelsAction
from ris.commands.options import JsonOption
from ris.commands.terminal import print_json
from ris.errors import InputError


def models(
    action: Annotated[ModelsAction, typer.Argument(help="list, pull or convert")] = "list",
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
    if action == "convert":
        _convert(names or [], as_json)
        return
    named = names or ()
    entries = ris.pull(*named, force=force) if action == "pull" else ris.models(*named)
    if as_json:
        print_json({"folder": ris.models_folder(), "models": [e.to_dict() for e in entries]})
        return
    print(f"model files in {ris.models_folder()}")
    for e in entries:
        optional = ", optional" if e.optional else ""
        print(f"\n{e.name}  [{e.state}{optional}]\n  {e.purpose}")
        print(f"  licence  {e.licence}, {e.author}\n  origin   {e.source}")
        print(f"  {e.origin:<8} {e.package}")


def _convert(names: list[str], as_json: bool) -> None:
    if len(names) != 2:
        raise InputError("convert takes two files, as in `ris models convert ffhq.pkl ffhq.pt`")
    done = ris.convert(*names)
    if as_json:
        print_json(done.to_dict())
    else:
        print(f"{done.file}: {done.generator}, {done.size} px")
