"""The three networks of alignment: the same numbers as LiteRT's, for any number of threads, and
damaged files."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import VECTORS
from conftest import ROOT
from PIL import Image

from ris.data.models import tflite
from ris.data.models.registry import model_file, pull
from ris.data.models.tflite import read_tflite
from ris.errors import ModelFileError
from ris.ingest.alignment import landmarker_file as networks
from ris.ingest.alignment.cut import Aligner
from ris.ingest.alignment.finder import FaceFinder
from ris.ingest.alignment.landmarker_file import MODEL, load_networks, read_networks
from ris.ingest.pictures.decode import decode
from ris.networks.fused import network
from ris.networks.graph import Graph, GraphNetwork, Step, Value
from ris.ops.native import problem

INPUTS = {
    "detector": "face_detector.tflite",
    "landmarks": "face_landmarks_detector.tflite",
    "blendshapes": "face_blendshapes.tflite",
}
SIDE = 64
"""Pixels of the picture in the vectors."""
IMPLS = ["reference", *(["native"] if problem() is None else [])]


def inputs(name: str, picture: np.ndarray) -> list[np.ndarray]:
    """A picture (SIDE, SIDE, 3) as each network takes it, and random numbers."""
    draw = np.random.default_rng(5)
    if name == "blendshapes":
        return [(draw.normal(size=(1, 146, 2)) * s + 100).astype(np.float32) for s in (20, 60)]
    size, low = (128, -1.0) if name == "detector" else (256, 0.0)
    large = picture.repeat(size // SIDE, 0).repeat(size // SIDE, 1)[None] / np.float32(255)
    noise = draw.random((1, size, size, 3), dtype=np.float32)
    return [(x * (1 - low) + low).astype(np.float32) for x in (large, noise)]


@pytest.fixture(scope="module")
def task() -> Path:
    pull(model_file(MODEL))
    return model_file(MODEL).path(".task")


@pytest.fixture(scope="module")
def members(task) -> dict[str, bytes]:
    with zipfile.ZipFile(task) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


# -- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", INPUTS)
def test_the_numbers_are_litert_s(members, name, impl):
    """Of the detector every seventh number is kept, see vectors/make_alignment.py."""
    vectors = np.load(VECTORS / "alignment.npz")
    run = network(read_tflite(members[INPUTS[name]], name), impl)
    checked = 0
    for n, values in enumerate(inputs(name, vectors["portrait"])):
        for output, made in run(torch.from_numpy(values)).items():
            expected = vectors[f"{name}/{n}/{output}"]
            found = made.reshape(-1).numpy()[:: 7 if name == "detector" else 1]
            assert np.abs(found - expected).max() < 1e-3
            checked += 1
    assert checked == 2 * {"detector": 2, "landmarks": 3, "blendshapes": 1}[name]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", INPUTS)
def test_the_numbers_are_litert_s_on_many_inputs(members, faces, name, impl):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    runtime = interpreter.Interpreter(model_content=members[INPUTS[name]], num_threads=1)
    runtime.allocate_tensors()
    (given,) = runtime.get_input_details()
    run = network(read_tflite(members[INPUTS[name]], name), impl)
    pictures = [Image.open(photo).resize((SIDE, SIDE)) for photo in sorted(faces.glob("*.jpg"))]
    for picture in pictures[:4]:
        for values in inputs(name, np.asarray(picture)):
            runtime.set_tensor(given["index"], values)
            runtime.invoke()
            made = run(torch.from_numpy(values))
            for output in runtime.get_output_details():
                expected = runtime.get_tensor(output["index"])
                assert np.abs(made[output["name"]].numpy() - expected).max() < 1e-3


def test_another_thread_count_gives_the_same_numbers(members):
    if problem() is not None:
        pytest.skip(f"no kernels: {problem()}")
    run = network(read_tflite(members[INPUTS["landmarks"]], "landmarks"), "native")
    values = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(run(values))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


# -- threads ----------------------------------------------------------------------------------


def test_eight_threads_share_one_finder(faces):
    """Every thread finds in every photo what one thread finds there."""
    finder = FaceFinder()
    photos = [Image.open(photo).convert("RGB") for photo in sorted(faces.glob("*.jpg"))[:8]]
    scene = Image.new("RGB", (900, 500), (70, 90, 110))
    for i in range(3):
        scene.paste(photos[i].resize((260, 260)), (30 + 280 * i, 100))
    photos.append(scene)
    alone = [finder.find(photo) for photo in photos]
    assert [len(found) for found in alone] == [1] * 8 + [3]
    shared = FaceFinder()  # its networks are first asked for by eight threads at once

    def work(start: int) -> list[list]:
        order = [(start + i) % len(photos) for i in range(2 * len(photos))]
        return [(i, shared.find(photos[i])) for i in order]

    with ThreadPoolExecutor(8) as pool:
        for done in pool.map(work, range(8)):
            for i, found in done:
                assert len(found) == len(alone[i])
                for face, expected in zip(found, alone[i], strict=True):
                    assert np.array_equal(face.landmarks, expected.landmarks)
                    assert np.array_equal(face.blendshapes, expected.blendshapes)
                    assert np.array_equal(face.quad, expected.quad)


def test_eight_threads_share_one_aligner(faces):
    aligner = Aligner(aligned="no", size=128)
    photos = [decode(photo) for photo in sorted(faces.glob("*.jpg"))[:8]]
    alone = [aligner.cuts(photo)[0] for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        for found, expected in zip(pool.map(aligner.cuts, photos * 4), alone * 4, strict=True):
            assert np.array_equal(found[0].pixels, expected.pixels)


def test_they_are_read_once_whoever_asks(monkeypatch):
    monkeypatch.setattr(networks, "_loaded", {})
    read = []

    def counted(path: Path) -> networks.Networks:
        read.append(path)
        return read_networks(path)

    monkeypatch.setattr(networks, "read_networks", counted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_networks(), range(16)))
    assert len(read) == 1
    assert all(each is found[0] for each in found)


def test_loading_writes_nothing():
    code = "from ris.ingest.alignment.landmarker_file import load_networks; load_networks()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- damaged files ----------------------------------------------------------------------------


def refused(content: bytes) -> str:
    """What reading says; it must be one line."""
    with pytest.raises(ModelFileError) as e:
        read_tflite(content, "odd.tflite")
    assert "\n" not in str(e.value)
    return str(e.value)


def test_damage_in_the_archive_is_one_line(tmp_path, members, monkeypatch):
    whole = write(tmp_path / "whole.task", members).read_bytes()
    read_networks(tmp_path / "whole.task")
    cases = {"empty": b"", "text": b"<html>not found</html>", "cut": whole[: len(whole) // 2]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name in members:
        left = {n: c for n, c in members.items() if n != name}
        write(tmp_path / f"without {name}", left)
        write(tmp_path / f"cut {name}", left | {name: members[name][: len(members[name]) // 2]})
        write(tmp_path / f"empty {name}", left | {name: b""})
    swapped = members | {"face_detector.tflite": members["face_blendshapes.tflite"]}
    write(tmp_path / "swapped", swapped)
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in members:
            archive.writestr(name, bytes(networks.LARGEST + 1))
    paths = [path for path in tmp_path.iterdir() if path.name != "whole.task"]
    assert len(paths) == 3 + 3 * len(members) + 2
    for path in [*paths, tmp_path, tmp_path / "nowhere"]:
        with pytest.raises(ModelFileError) as e:
            read_networks(path)
        assert "\n" not in str(e.value)
        assert str(e.value).startswith(f"{path} is damaged (")
    monkeypatch.setattr(networks, "_loaded", {})
    monkeypatch.setattr(networks, "read_networks", lambda _: read_networks(bomb))
    with pytest.raises(ModelFileError, match=r"run `ris.pull\(force=True\)`$"):
        load_networks()


@pytest.mark.parametrize("name", INPUTS)
def test_mutations_are_refused_or_another_network(members, name):
    """Whatever a file holds, reading it ends in the one error, or in a graph that is checked before
    it runs, and runs within its memory."""
    content = members[INPUTS[name]]
    draw = np.random.default_rng(8)
    read = 0
    for n in range(100):
        changed = bytearray(content)
        for at in draw.integers(0, len(content), 1 + n % 4):
            changed[at] = draw.integers(256)
        if n % 5 == 0:
            del changed[draw.integers(len(changed)) :]
        if n % 5 == 1:  # offsets and counts
            at = int(draw.integers(0, len(changed) - 4)) & ~3
            changed[at : at + 4] = struct.pack("<I", int(draw.choice([0, 1 << 31, 0xFFFFFFFF, 7])))
        try:
            graph = read_tflite(bytes(changed), name)
            run = network(graph)
        except (ModelFileError, ValueError):
            continue
        read += 1
        if n % 4 == 0:
            run(torch.zeros(graph.values[graph.input].shape))
    assert 10 < read < 90


def flatbuffer(*tables: list[int | None], root: int = 0) -> bytes:
    """A file of tables whose fields are numbers of 32 bits, each after its list of fields."""
    out = bytearray(struct.pack("<I4s", 0, b"TFL3"))
    for n, fields in enumerate(tables):
        start = len(out)
        out += struct.pack("<HH", 4 + 2 * len(fields), 4 + 4 * len(fields))
        out += b"".join(
            struct.pack("<H", 0 if f is None else 4 + 4 * i) for i, f in enumerate(fields)
        )
        out += bytes(-len(out) % 4)
        if n == root:
            struct.pack_into("<I", out, 0, len(out))
        out += struct.pack("<i", len(out) - start)
        out += b"".join(struct.pack("<I", f or 0) for f in fields)
    return bytes(out)


def test_offsets_out_of_the_file_and_lists_without_end():
    assert "does not begin as one" in refused(b"PK\3\4" + bytes(100))
    assert "does not begin as one" in refused(b"")
    assert "out of the file" in refused(struct.pack("<I4s", 1 << 31, b"TFL3"))
    assert "out of the file" in refused(struct.pack("<I4s", 0xFFFFFFFF, b"TFL3") + bytes(64))
    # the list of buffers lies beyond the end, at its end, or holds more than there is
    for offset in (0x7FFFFFFF, 0xFFFFFFFF, 1000):
        assert "out of the file" in refused(flatbuffer([None, None, None, None, offset]))
    endless = bytearray(flatbuffer([3, None, None, None, 4]))
    endless += struct.pack("<I", 0xFFFFFFFF)
    assert "a list of 4294967295" in refused(bytes(endless))
    # a table before the file's first byte
    before = bytearray(flatbuffer([1, 2, 3, 4, 5]))
    struct.pack_into("<i", before, struct.unpack_from("<I", before)[0], 1 << 20)
    assert "out of the file" in refused(bytes(before))


def test_one_constant_named_many_times_costs_no_more_than_the_file(members, monkeypatch):
    assert read_tflite(members["face_detector.tflite"], "detector")
    spent = []
    monkeypatch.setattr(tflite._Budget, "take", lambda _, size: spent.append(size))
    read_tflite(members["face_detector.tflite"], "detector")
    monkeypatch.undo()
    budget = tflite._Budget(sum(spent))
    for size in spent:
        budget.take(size)
    with pytest.raises(ValueError, match="larger than the file"):
        budget.take(1)


# -- graphs -----------------------------------------------------------------------------------


def graph_of(shape, made, kind, constants=(), **options) -> Graph:
    values = [Value("x", shape), *(Value(f"c{i}", c.shape, c) for i, c in enumerate(constants))]
    values.append(Value("y", made))
    inputs = tuple(range(len(values) - 1))
    return Graph(tuple(values), (Step(kind, inputs, len(inputs), options),), 0, (len(inputs),))


CONV = {"padding": 0, "stride_w": 1, "stride_h": 1, "activation": 0} | {
    "dilation_w": 1, "dilation_h": 1
}  # fmt: skip


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graph_of((1, 4, 4, 3), (1, 4, 4, 3), "COS"), "there is no COS here"),
        (graph_of((1, 4, 4, 3), (1, 4, 4, 2), "RELU"), r"makes \(1, 4, 4, 3\), not"),
        (
            graph_of((1, 4), (1, 1 << 20), "PAD", [np.array([[0, 0], [0, 1 << 30]], np.int32)]),
            r"makes \(1, 1073741828\), not",
        ),
        (
            graph_of((1, 2, 2, 1), (1, 2, 2, 1), "CONV_2D",
                     [np.ones((1, 1, 1, 1), np.float32), np.ones(1, np.float32)],
                     **CONV | {"stride_w": 0}),
            "stride 0",
        ),
        (
            graph_of((1, 2, 2, 1), (1, 2, 2, 1), "CONV_2D",
                     [np.ones((1, 1, 1, 5), np.float32), np.ones(1, np.float32)], **CONV),
            "for 1 channels",
        ),
        (
            graph_of((1, 2048, 2048, 1), (1, 2048, 2048, 1), "CONV_2D",
                     [np.ones((1, 64, 64, 1), np.float32), np.ones(1, np.float32)], **CONV),
            "too many",
        ),
        (
            graph_of((1, 3, 4, 1), (1, 1, 2, 1), "MAX_POOL_2D", filter_h=2, filter_w=2,
                     stride_h=2, stride_w=2, padding=0, activation=0),
            "2x2 pixels of an even number",
        ),
        (
            graph_of((1, 4), (1, 4), "MUL", [np.ones((1, 4), np.int32)], activation=0),
            "compute with integers",
        ),
        (graph_of((1, 4), (3,), "RESHAPE"), r"it is given \(1, 4\)"),
        (graph_of((1, 4), (4, 1), "TRANSPOSE", [np.array([1, 1], np.int32)]), "order"),
    ],
)  # fmt: skip
def test_a_graph_that_contradicts_itself_is_refused(graph, reason):
    with pytest.raises(ValueError, match=reason):
        GraphNetwork(graph)
