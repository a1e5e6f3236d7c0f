"""Checkpoints of StyleGAN2: three forms, one network; bad files are refused and run nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from checkpoints import as_nvidia, network, nvidia_modules, rosinality, write_pickle
from safetensors.torch import save_file

from ris import notices
from ris.data.models.nvidia_pickle import read_networks
from ris.data.models.stylegan2_files import convert, load_stylegan2
from ris.errors import ModelFileError
from ris.generators.stylegan2 import StyleGAN2, StyleGAN2Config

CONFIG = StyleGAN2Config((16, 16, 12, 8), mapping_layers=3)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return rosinality(CONFIG) | {"latent_avg": torch.linspace(-1, 1, 512)}


@pytest.fixture(scope="module")
def expected(tensors) -> StyleGAN2:
    return StyleGAN2(network(CONFIG) | {"latent_avg": tensors["latent_avg"]})


def checkpoint(tensors) -> dict[str, object]:
    """As rosinality's converter writes it."""
    g_ema = {k: v for k, v in tensors.items() if k != "latent_avg"}
    return {"g_ema": g_ema, "latent_avg": tensors["latent_avg"]}


def write_pt(path: Path, tensors, *, legacy: bool = False) -> Path:
    torch.save(checkpoint(tensors), path, _use_new_zipfile_serialization=not legacy)
    return path


def write_training_pt(path: Path, tensors) -> Path:
    """As rosinality's training writes it."""
    extra = {"args": Namespace(size=32), "ada_aug_p": 0.0, "g": {}, "g_optim": {"state": {}}}
    torch.save(checkpoint(tensors) | extra, path)
    return path


def write_encoder_pt(path: Path, tensors) -> Path:
    """The decoder of a pSp or e4e checkpoint, with one mean for each row."""
    state = {f"decoder.{k}": v for k, v in tensors.items() if k != "latent_avg"}
    state["encoder.input_layer.0.weight"] = torch.zeros(1)
    average = tensors["latent_avg"].expand(8, -1).clone()
    torch.save({"state_dict": state, "latent_avg": average, "opts": {"lr": 1e-4}}, path)
    return path


def write_safetensors(path: Path, tensors) -> Path:
    save_file({k: v.clone() for k, v in tensors.items()}, path)
    return path


def write_pkl(path: Path, tensors, **options) -> Path:
    write_pickle(path, as_nvidia(tensors), **options)
    return path


FORMS = {
    "pt": lambda p, t: write_pt(p / "a.pt", t),
    "pt, torch's older format": lambda p, t: write_pt(p / "a.pt", t, legacy=True),
    "pt of a training": lambda p, t: write_training_pt(p / "a.pt", t),
    "pt of an encoder": lambda p, t: write_encoder_pt(p / "a.pt", t),
    "safetensors": lambda p, t: write_safetensors(p / "a.safetensors", t),
    "safetensors, NVIDIA's names": lambda p, t: write_safetensors(
        p / "a.safetensors", as_nvidia(t)
    ),
    "pkl": lambda p, t: write_pkl(p / "a.pkl", t),
    "pkl, protocol 3": lambda p, t: write_pkl(p / "a.pkl", t, protocol=3),
    "pkl in memory order of channels-last": lambda p, t: write_pkl(
        p / "a.pkl", t | {"convs.1.conv.weight": channels_last(t["convs.1.conv.weight"])}
    ),
}


def channels_last(weight: torch.Tensor) -> torch.Tensor:
    return weight[0].contiguous(memory_format=torch.channels_last)[None]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_network(form, tensors, expected, tmp_path):
    generator = load_stylegan2(FORMS[form](tmp_path, tensors))
    assert generator.fingerprint == expected.fingerprint
    assert generator.config == CONFIG
    assert torch.equal(generator.mean_w(), expected.mean_w())
    sigma = expected.sigma(torch.ones(1, 512))
    with torch.no_grad():
        assert torch.equal(generator.render(sigma), expected.render(sigma))


def test_clamp_of_a_half_precision_network_is_kept(tensors, expected, tmp_path):
    generator = load_stylegan2(write_pkl(tmp_path / "a.pkl", tensors, clamp=256.0))
    assert generator.config.clamp == 256
    assert generator.fingerprint != expected.fingerprint


def test_the_file_may_change_after_loading(tensors, expected, tmp_path):
    path = write_pt(tmp_path / "a.pt", tensors)
    generator = load_stylegan2(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    sigma = expected.sigma(torch.ones(1, 512))
    with torch.no_grad():
        assert torch.equal(generator.render(sigma), expected.render(sigma))


# -- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("form", ["pt", "safetensors", "pkl"])
def test_converted_files_are_the_same_network(form, suffix, tensors, expected, tmp_path):
    target = tmp_path / f"made.{suffix}"
    facts = convert(FORMS[form](tmp_path, tensors), target)
    assert facts == {
        "file": target,
        "generator": expected.fingerprint,
        "size": 32,
        "widths": CONFIG.widths,
        "mapping_layers": 3,
    }
    again = load_stylegan2(target)
    assert again.fingerprint == expected.fingerprint
    assert torch.equal(again.mean_w(), expected.mean_w())


def test_a_written_pt_has_every_entry_of_rosinalitys(tensors, tmp_path):
    convert(write_pkl(tmp_path / "a.pkl", tensors), tmp_path / "b.pt")
    content = torch.load(tmp_path / "b.pt", weights_only=True)
    assert set(content) == {"g_ema", "latent_avg"}
    assert set(content["g_ema"]) == set(tensors) - {"latent_avg"}
    for name, tensor in content["g_ema"].items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_converting_keeps_the_clamp_and_a_missing_mean(suffix, tensors, tmp_path):
    names = {k: v for k, v in tensors.items() if k != "latent_avg"}
    source, target = write_pkl(tmp_path / "a.pkl", names, clamp=256.0), tmp_path / f"b.{suffix}"
    convert(source, target)
    before, after = load_stylegan2(source), load_stylegan2(target)
    assert after.config.clamp == 256
    assert after.fingerprint == before.fingerprint
    assert torch.equal(after.mean_w(), before.mean_w())


@pytest.mark.parametrize("name", ["b.pkl", "b.onnx"])
def test_other_forms_are_not_written(name, tensors, tmp_path):
    source = write_pt(tmp_path / "a.pt", tensors)
    with pytest.raises(ModelFileError, match=r"\.pt or \.safetensors"):
        convert(source, tmp_path / name)
    assert not (tmp_path / name).exists()


# -- what is refused ---------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as e:
        load_stylegan2(path)
    message = str(e.value)
    assert "\n" not in message
    assert len(message) < 400
    assert str(path) in message
    return message


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args) -> None:
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def marker(tmp_path: Path) -> str:
    return f"touch {tmp_path / 'ran'}"


def getattr_chain(tmp_path: Path) -> Call:
    """The function of a module, called through the opcodes that a class's state is set with."""
    return Call(map, Call(getattr, Call(__import__, "os"), "system"), [marker(tmp_path)])


ATTACKS = {
    "os.system": lambda p: Call(os.system, marker(p)),
    "eval": lambda p: Call(eval, f"open({str(p / 'ran')!r}, 'w')"),
    "exec": lambda p: Call(exec, f"open({str(p / 'ran')!r}, 'w')"),
    "getattr": getattr_chain,
    "import": lambda p: Call(__import__, "antigravity"),
    "open": lambda p: Call(open, str(p / "ran"), "w"),
    "load_from_bytes": lambda p: Call(
        torch.storage._load_from_bytes, torch_bytes(Call(os.system, marker(p)))
    ),
    "torch.load": lambda p: Call(torch.load, str(p / "a.pt"), "cpu", None),
}


def torch_bytes(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


@pytest.mark.parametrize("attack", ["os.system", "eval", "open", "load_from_bytes"])
def test_the_attacks_do_run_where_nothing_is_refused(attack, tmp_path):
    pickle.loads(pickle.dumps(ATTACKS[attack](tmp_path)))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_runs_nothing(attack, protocol, tensors, tmp_path):
    path = tmp_path / "a.pkl"
    with path.open("wb") as file:
        pickle.dump({"G_ema": ATTACKS[attack](tmp_path)}, file, protocol=protocol)
    try:
        message = refusal(path)
    finally:
        assert not (tmp_path / "ran").exists()
    assert "wants" in message


@pytest.mark.parametrize("attack", ["os.system", "eval", "getattr", "open"])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_torch_file_runs_nothing(attack, legacy, tmp_path):
    path = tmp_path / "a.pt"
    content = {"g_ema": ATTACKS[attack](tmp_path)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    message = refusal(path)
    assert not (tmp_path / "ran").exists()
    assert "more than tensors" in message


def raw(path: Path, stream: bytes) -> str:
    path.write_bytes(stream)
    return refusal(path)


def test_hand_made_streams_run_nothing(tmp_path):
    path = tmp_path / "a.pkl"
    touch = marker(tmp_path).encode()
    assert "posix.system" in raw(path, b"cposix\nsystem\n(S'" + touch + b"'\ntR.")
    assert "os.system" in raw(path, b"(S'" + touch + b"'\nios\nsystem\n.")  # INST
    assert "outside" in raw(path, b"Vhidden\nQ.")  # persistent id
    assert "outside" in raw(path, b"Phidden\n.")
    table = b"ccollections\nOrderedDict\n"
    raw(path, table + b"}S'__reduce__'\nI1\nsb.")  # sets an attribute of a class
    raw(path, table + b"N}S'__len__'\nI1\ns\x86b.")  # the same by slots
    builder = b"ctorch._utils\n_rebuild_parameter\n"
    raw(path, builder + b"N}S'_function'\n" + table + b"s\x86b.")
    assert len({}.__class__()) == 0
    raw(path, b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.")  # a frame without end
    raw(path, b"\x80\x04B\xff\xff\xff\xff.")  # 4 GB of bytes that are not there
    raw(path, b"\x80\x02N\x82\x01.")  # extension registry
    raw(path, b"")
    raw(path, b"N.")
    raw(path, b"}.")
    assert not (tmp_path / "ran").exists()


FOUR = torch.storage.TypedStorage(
    wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
)


def tensor_call(size, stride, data: bytes | None = None, offset: int = 0) -> Call:
    data = torch_bytes(FOUR) if data is None else data
    storage = Call(torch.storage._load_from_bytes, data)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_call((1 << 40, 1 << 20), (0, 0)),
        tensor_call((1 << 40,), (1,)),
        tensor_call((4,), (-1,)),
        tensor_call((2,), (1,), offset=3),
        tensor_call((2,), (1,), offset=-1),
        tensor_call((2, 2), (3, 1)),
        tensor_call((2.0,), (1,)),
        tensor_call((4,), (1,), torch_bytes(FOUR)[:-8]),
        tensor_call((4,), (1,), b"nothing"),
        tensor_call((4,), (1,), torch_bytes({"a": 1})),
    ],
)
def test_shapes_beyond_the_numbers_are_refused(tensor, tmp_path):
    path = tmp_path / "a.pkl"
    state = {"_parameters": {"x": tensor}, "_buffers": {}, "_modules": {}}
    with nvidia_modules(), path.open("wb") as file:
        pickle.dump({"G_ema": stored(state)}, file)
    refusal(path)


def stored(state) -> Call:
    import sys

    build = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
    return Call(build, {"type": "class", "class_name": "G", "module_src": "1/0", "state": state})


def test_numbers_named_many_times_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    shared = torch.nn.Parameter(torch.zeros(1000))
    with nvidia_modules(), path.open("wb") as file:
        table = {f"p{i}": shared for i in range(1000)}
        pickle.dump({"G_ema": stored({"_parameters": table})}, file)
    assert "many times" in refusal(path)


def test_networks_inside_each_other_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    state: dict[str, object] = {"_modules": {}}
    with nvidia_modules(), path.open("wb") as file:
        inner = stored({"_parameters": {"x": torch.zeros(1)}})
        for _ in range(40):
            inner = stored({"_modules": {"a": inner}})
        pickle.dump({"G_ema": inner}, file)
    assert "without end" in refusal(path)
    assert not state["_modules"]


@pytest.mark.parametrize("form", ["pt", "safetensors", "pkl", "pt, torch's older format"])
def test_truncated_files_are_refused(form, tensors, tmp_path):
    path = FORMS[form](tmp_path, tensors)
    whole = path.read_bytes()
    for part in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:part])
        refusal(path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "pkl"])
@pytest.mark.parametrize("form", ["pt", "safetensors", "pkl"])
def test_files_under_another_forms_suffix_are_refused(form, suffix, tensors, tmp_path):
    path = FORMS[form](tmp_path, tensors)
    if path.suffix == f".{suffix}":
        return
    refusal(path.rename(tmp_path / f"b.{suffix}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convs.1.conv.weight": None}, "the weights lack convs.1.conv.weight (1, 16, 16, 3, 3)"),
        (
            {"convs.1.conv.weight": torch.zeros(1, 16, 16, 3, 1)},
            "convs.1.conv.weight is (1, 16, 16, 3, 1), expected (1, 16, 16, 3, 3)",
        ),
        ({"another": torch.zeros(1)}, "unknown tensor another"),
        ({"to_rgbs.0.upsample.kernel": torch.ones(4, 4)}, "to_rgbs.0.upsample.kernel is another"),
        ({"noises.noise_0": torch.zeros(1, 1, 4, 4).int()}, "noises.noise_0 holds torch.int32"),
        (
            {"style.1.bias": torch.zeros(1).expand(512)},
            "style.1.bias (512,) has fewer numbers",
        ),
    ],
)
def test_the_first_wrong_tensor_is_named(change, message, tensors, tmp_path):
    changed = {k: v for k, v in (tensors | change).items() if v is not None}
    assert message in refusal(write_pt(tmp_path / "a.pt", changed))


def test_wrong_tensors_of_a_pickle_are_named(tensors, tmp_path):
    names = as_nvidia(tensors)
    path = tmp_path / "a.pkl"
    write_pickle(path, {k: v for k, v in names.items() if k != "synthesis.b8.conv1.weight"})
    assert "lack convs.1.conv.weight" in refusal(path)
    write_pickle(path, names | {"mapping.embed.weight": torch.zeros(2, 2)})
    assert "conditional" in refusal(path)
    write_pickle(path, names | {"synthesis.b8.skip.weight": torch.zeros(2, 2)})
    assert "unknown tensor synthesis.b8.skip.weight" in refusal(path)
    write_pickle(path, {"synthesis.L0_36_512.weight": torch.zeros(2, 2)})
    assert "StyleGAN3" in refusal(path)


def test_other_files_are_refused(tmp_path):
    assert "no file" in refusal(tmp_path / "missing.pt")
    path = tmp_path / "a.onnx"
    path.write_bytes(b"x")
    assert "comes as .pt, .pth, .pkl, .safetensors" in refusal(path)
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no table" in refusal(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    assert "holds no StyleGAN2 generator" in refusal(tmp_path / "other.pt")
    assert "it has epoch" in refusal(tmp_path / "other.pt")
    tf = tmp_path / "tf.pkl"
    tf.write_bytes(b"cdnnlib.tflib.network\nNetwork\n)R.")
    assert "TensorFlow pickle" in refusal(tf)


def test_a_compressed_torch_file_is_refused(tensors, tmp_path):
    """It could be a thousand times as large as it looks."""
    path = write_pt(tmp_path / "a.pt", tensors)
    packed = tmp_path / "b.pt"
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert "compressed" in refusal(packed)


def test_a_pickles_other_networks_are_listed(tensors, tmp_path):
    path = write_pkl(tmp_path / "a.pkl", tensors)
    networks = read_networks(path)
    assert set(networks) == {"G_ema", "D"}
    assert list(networks["D"].tensors()) == ["b4.out.weight"]


@pytest.mark.parametrize("key", ["G_ema", "params_ema", "ema", "generator", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "decoder.", "g_ema.module."])
def test_checkpoints_of_other_programs_are_read(key, prefix, tensors, expected, tmp_path):
    table = {prefix + k: v for k, v in tensors.items() if k != "latent_avg"}
    content = {"epoch": 3, "optimiser": {"lr": 0.1}, "latent_avg": tensors["latent_avg"]}
    content |= table if key is None else {key: table}
    path = tmp_path / "a.pt"
    torch.save(content, path)
    assert load_stylegan2(path).fingerprint == expected.fingerprint


def test_averaged_weights_are_taken_before_others(tensors, expected, tmp_path):
    table = {k: v for k, v in tensors.items() if k != "latent_avg"}
    content = {"g": {k: v + 1 for k, v in table.items()}, "params_ema": table}
    path = tmp_path / "a.pt"
    torch.save(content | {"latent_avg": tensors["latent_avg"]}, path)
    assert load_stylegan2(path).fingerprint == expected.fingerprint
    both = {f"G.{k}": v + 1 for k, v in table.items()} | {f"G_ema.{k}": v for k, v in table.items()}
    torch.save({"state_dict": both, "latent_avg": tensors["latent_avg"]}, path)
    assert load_stylegan2(path).fingerprint == expected.fingerprint


def test_a_file_without_noise_maps_draws_without_noise(tensors, tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(notices, "_listeners", [told.append])
    path = tmp_path / "a.pt"
    torch.save(checkpoint({k: v for k, v in tensors.items() if "noises" not in k}), path)
    bare = load_stylegan2(path)
    assert told == ["a.pt has no noise maps: its pictures are drawn without noise"]
    silent = StyleGAN2({k: v * 0 if "noises" in k else v for k, v in network(CONFIG).items()})
    w = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    drawn = bare.render(bare.sigma(w))
    torch.testing.assert_close(drawn, silent.render(silent.sigma(w)))
    some = {k: v for k, v in tensors.items() if k != "noises.noise_1"}
    torch.save(checkpoint(some), path)
    assert "noises.noise_1" in refusal(path)  # one that is missing is damage


@pytest.mark.parametrize("form", ["pt", "pkl", "safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(form, value, tensors, tmp_path):
    broken = {k: v.clone() for k, v in tensors.items()}
    broken["conv1.conv.weight"].view(-1)[7] = value
    path = {"pt": write_pt, "pkl": write_pkl, "safetensors": write_safetensors}[form](
        tmp_path / f"a.{form}", broken
    )
    assert "not finite" in refusal(path)


@pytest.mark.parametrize("clamp", [float("nan"), -5, 0, "x", [1], torch.zeros(3)])
def test_a_clamp_that_limits_nothing_is_refused(clamp, tensors, tmp_path):
    torch.save(checkpoint(tensors) | {"conv_clamp": clamp}, tmp_path / "a.pt")
    assert "conv_clamp is" in refusal(tmp_path / "a.pt")
    if not isinstance(clamp, (list, torch.Tensor)):
        save_file(dict(tensors), tmp_path / "a.safetensors", {"conv_clamp": str(clamp)})
        assert "conv_clamp is" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize("shape", [(0, 512), (), (7,), (2, 3, 4)])
def test_a_mean_of_another_shape_is_refused(shape, tensors, tmp_path):
    torch.save(checkpoint(tensors) | {"latent_avg": torch.zeros(shape)}, tmp_path / "a.pt")
    assert f"latent_avg is {shape}" in refusal(tmp_path / "a.pt")


def test_sparse_weights_are_refused_with_the_reason(tensors, tmp_path):
    sparse = tensors["conv1.conv.weight"].to_sparse()
    torch.save(checkpoint(dict(tensors) | {"conv1.conv.weight": sparse}), tmp_path / "a.pt")
    assert "stored sparsely" in refusal(tmp_path / "a.pt")


def nested(depth: int, pair: bytes) -> bytes:
    """A pickle of tuples of tuples: 2 ** depth leaves in a few bytes."""
    return b"\x80\x02(X\x01\x00\x00\x00at" + b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + pair for i in range(depth)
    )


HOSTILE = {
    "a memo of gigabytes": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a memo of gigabytes, later": b"\x80\x02}q\x00(X\x01\x00\x00\x00ar\xff\xff\xff\x0fNu.",
    "a frame of exabytes": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "bytes of exabytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "a key whose hash never ends": b"\x80\x02}" + nested(60, b"\x86")[2:] + b"Ns.",
    "a set whose hash never ends": b"\x80\x04\x8f(" + nested(60, b"\x86")[2:] + b"\x90.",
    "a frozenset whose hash never ends": b"\x80\x04(" + nested(60, b"\x86")[2:] + b"\x91.",
    "a number of millions of digits": b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".",
    "a stack that is empty": b"\x80\x02.",
    "a mark and no more": b"\x80\x02(t0u.",
    "something not remembered": b"\x80\x02h\x07.",
    "no end": b"\x80\x02}" + b"}" * 1000,
    "buffers from elsewhere": b"\x80\x05\x97.",
}


READ_ALL = """
import json, resource, signal, sys
from pathlib import Path
from ris.data.models.stylegan2_files import load_stylegan2
from ris.errors import ModelFileError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    signal.alarm(20)  # ends the process
    try:
        load_stylegan2(Path(path))
        said = "read"
    except ModelFileError as e:
        said = str(e)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([path, said, more]), flush=True)
"""


@pytest.mark.parametrize("suffix", [".pkl", ".pt", "zipped.pt"])
def test_hostile_pickles_are_refused_at_once(suffix, tmp_path):
    paths = {name: tmp_path / f"{i}{suffix}" for i, name in enumerate(HOSTILE)}
    for name, path in paths.items():
        if suffix == "zipped.pt":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", HOSTILE[name])
                archive.writestr("archive/version", "3\n")
        else:
            path.write_bytes(HOSTILE[name])
    words = [sys.executable, "-c", READ_ALL, *map(str, paths.values())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [path for path, *_ in found] == list(map(str, paths.values())), done
    assert (done.returncode, done.stderr) == (0, "")
    for path, said, more in found:
        assert said.startswith(path)
        assert "\n" not in said
        assert more < 200_000  # KB


def test_networks_named_again_and_again_are_refused(tmp_path):
    """Each layer names the one below many times: few bytes, and more networks than atoms."""
    path = tmp_path / "a.pkl"
    with nvidia_modules(), path.open("wb") as file:
        inner = stored({"_modules": {}})
        for _ in range(10):
            inner = stored({"_modules": {f"n{i}": inner for i in range(10)}})
        pickle.dump({"G_ema": inner}, file, protocol=4)
    assert "contain each other without end" in refusal(path)
