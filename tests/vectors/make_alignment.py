"""Writes ``alignment.npz``: what LiteRT makes of a few pictures and points.

It needs `ai-edge-litert`, Google's runtime for these files. Run it from the repository's root:
 ``PYTHONPATH=.:tests python tests/vectors/make_alignment.py``
"""

from __future__ import annotations

import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from checkpoints import VECTORS
from PIL import Image
from test_networks import INPUTS, SIDE, inputs

from ris.data.models.asset_files import asset_path
from ris.data.models.registry import model_file, pull
from ris.ingest.alignment.landmarker_file import MODEL

EVERY = 7
"""Of the detector's many cells so many are kept."""


def main() -> None:
    """Computes and writes."""
    pull(model_file(MODEL))
    portrait = (
        Image.open(asset_path("portrait.jpg"))
        .convert("RGB")
        .resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    )
    kept = {"portrait": np.asarray(portrait)}
    with zipfile.ZipFile(model_file(MODEL).path(".task")) as archive:
        for name, member in INPUTS.items():
            runtime = Interpreter(model_content=archive.read(member), num_threads=1)
            runtime.allocate_tensors()
            (given,) = runtime.get_input_details()
            for n, values in enumerate(inputs(name, kept["portrait"])):
                runtime.set_tensor(given["index"], values)
                runtime.invoke()
                for made in runtime.get_output_details():
                    numbers = runtime.get_tensor(made["index"]).reshape(-1)
                    step = EVERY if name == "detector" else 1
                    kept[f"{name}/{n}/{made['name']}"] = numbers[::step]
    np.savez_compressed(VECTORS / "alignment.npz", **kept)


if __name__ == "__main__":
    main()
