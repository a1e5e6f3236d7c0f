"""`make demo` in small: real faces, a real photo, pictures at the end."""

from __future__ import annotations

from PIL import Image

from examples import demo


def test_the_demo_makes_its_pictures(tmp_path, capsys):
    picture = demo.run(tmp_path / "demo", 14)
    with Image.open(picture) as overview:
        assert overview.width > 1000
    sheets = {p.stem for p in (tmp_path / "demo").glob("*-*.jpg")}
    features = ("eyes", "nose", "mouth", "hair", "pose")
    assert sheets == {f"{kind}-{f}" for kind in ("rendered", "photo") for f in features}
    # a second run has nothing left to do but the search
    assert "14 faces" in capsys.readouterr().out
