"""Codes in files of every kind and shape."""

from __future__ import annotations

import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ris.data.latents import read_latents, write_latents
from ris.errors import InputError

W = np.float32(np.random.RandomState(0).standard_normal((3, 512)))
WPLUS = np.float32(np.random.RandomState(1).standard_normal((3, 18, 512)))


def write(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, w=array, other=np.zeros(2))
    else:
        torch.save(torch.from_numpy(array), path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
@pytest.mark.parametrize("codes", [W, WPLUS])
def test_codes_are_read(suffix, codes, tmp_path):
    found = read_latents(write(tmp_path / f"a{suffix}", codes)).of_rows(18, 3)
    assert len(found.codes) == 3
    for i in range(3):
        np.testing.assert_array_equal(found.codes[i], codes[i])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_one_code_for_one_photo(suffix, tmp_path):
    path = write(tmp_path / f"a{suffix}", WPLUS[0])
    one = read_latents(path).of_rows(18, 1).codes
    assert len(one) == 1
    np.testing.assert_array_equal(one[0], WPLUS[0])
    many = read_latents(path).of_rows(18, 18).codes  # eighteen codes in W
    assert len(many) == 18
    np.testing.assert_array_equal(many[2], WPLUS[0, 2])


def test_a_torch_table_of_one_tensor_or_with_w(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"latents": torch.from_numpy(WPLUS).half()}, path)
    assert len(read_latents(path).codes) == 3
    torch.save({"w": torch.from_numpy(W), "z": torch.zeros(2)}, path)
    assert read_latents(path).codes[1].shape == (512,)
    torch.save({"a": torch.from_numpy(W), "z": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="holds a, z: name the codes 'w'"):
        read_latents(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
@pytest.mark.parametrize(
    "array", [W[0], W[:, :256], WPLUS[None], np.zeros((3, 512), int), np.float32(0)]
)
def test_other_shapes_are_refused(suffix, array, tmp_path):
    path = write(tmp_path / f"a{suffix}", np.asarray(array))
    with pytest.raises(InputError, match=r"expected floats \(N, 512\), \(L, 512\) or \(N, L, 512"):
        read_latents(path)


def test_codes_of_another_generator_are_refused(tmp_path):
    latents = read_latents(write(tmp_path / "a.pt", WPLUS))
    expected = r"are \(3, 18, 512\), expected \(N, 512\), \(10, 512\) or \(N, 10, 512\)"
    with pytest.raises(InputError, match=expected):
        latents.of_rows(10, 3)


def test_files_that_hold_more_are_refused(tmp_path):
    class Call:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save(Call(), tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", np.array([Call()], dtype=object))
    for name in ("a.pt", "a.npy"):
        with pytest.raises(InputError) as e:
            read_latents(tmp_path / name)
        assert "\n" not in str(e.value)
    torch.save([torch.zeros(1, 512)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds no tensor"):
        read_latents(tmp_path / "list.pt")
    torch.save(torch.zeros(1).expand(1 << 30, 512), tmp_path / "huge.pt")
    with pytest.raises(InputError, match="fewer numbers"):
        read_latents(tmp_path / "huge.pt")
    assert not (tmp_path / "ran").exists()


def codes_of(path):
    """All codes of a file, or the line that refuses it."""
    try:
        found = read_latents(path)
        return found.files, np.stack([found.codes[i] for i in range(len(found.codes))])
    except InputError as e:
        refusal = str(e)
    assert "\n" not in refusal
    assert str(path) in refusal
    return None


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".parquet"])
def test_damaged_files_are_refused_or_read_in_full(suffix, tmp_path):
    """Bits are flipped, ends cut off. Where a file carries checksums, nothing else is read."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        write_latents(path, W, ["a.jpg", "b.jpg", "c.jpg"], ["0", "1", "2"], "generator")
    else:
        write(path, W)
    whole, content = codes_of(path), path.read_bytes()
    refused, rng = 0, np.random.default_rng(3)
    for number in range(300):
        broken = bytearray(content)
        if number % 5:
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        else:
            del broken[rng.integers(len(broken)) :]
        path.write_bytes(broken)
        found = codes_of(path)
        refused += found is None
        if found is not None and suffix in (".npz", ".parquet"):
            assert found[0] == whole[0] or suffix == ".parquet"  # a name lies in the footer
            np.testing.assert_array_equal(found[1], whole[1])
    assert refused > 60  # every one that was cut off at least


def test_a_table_of_codes_needs_its_columns(tmp_path):
    path = tmp_path / "a.parquet"
    codes = pa.FixedSizeListArray.from_arrays(pa.array(W.reshape(-1)), 512)
    for table, message in [
        ({"w": codes}, "has no column file"),
        ({"file": ["a", "b", "c"]}, "has no column w"),
        ({"file": ["a", None, "c"], "w": codes}, "column file has to hold a text in every row"),
        ({"file": [1, 2, 3], "w": codes}, "column file has to hold a text in every row"),
        ({"file": ["a", "b", "c"], "sha256": [b"0"] * 3, "w": codes}, "column sha256 has to hold"),
    ]:
        pq.write_table(pa.table(table), path)
        with pytest.raises(InputError, match=message):
            read_latents(path)


def test_a_packed_file_cannot_fill_the_memory(tmp_path):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as f,
    ):
        np.lib.format.write_array_header_1_0(
            f, {"descr": "<f4", "fortran_order": False, "shape": (1 << 14, 512)}
        )
        for _ in range(32):
            f.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputError, match="unpacks to far more than codes could"):
        read_latents(path)
