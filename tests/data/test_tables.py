"""Tables are read strictly: as they are written, or refused with the line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from ris.data.column_types import typed
from ris.data.delimited import DELIMITERS
from ris.data.tables import read_table
from ris.data.text_lines import LONGEST
from ris.errors import InputError


@pytest.fixture
def read(tmp_path):
    """Writes text or bytes to a file and gives the table's columns by name, as written."""

    def written(content: str | bytes, name: str = "labels.csv") -> dict[str, list[str]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        table = read_table(path)
        return {name: table.text(name).to_pylist() for name in table.names}

    return written


PEOPLE = {"file": ["a.jpg", "b.jpg"], "who": ["Ann", "Bo"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "file,who\na.jpg,Ann\nb.jpg,Bo\n"),
        ("labels[1].csv", "file,who\na.jpg,Ann\nb.jpg,Bo"),
        ("labels.csv", "file;who\r\na.jpg;Ann\r\nb.jpg;Bo\r\n"),
        ("labels.csv", "file\twho\ra.jpg\tAnn\rb.jpg\tBo\r"),
        ("labels.csv", "file|who\na.jpg|Ann\nb.jpg|Bo\n"),
        ("labels.csv", '"file","who"\n"a.jpg","Ann"\n\n"b.jpg","Bo"\n\n'),
        ("labels.csv", "sep=;\nfile;who\na.jpg;Ann\nb.jpg;Bo\n"),
        ("labels.csv", "\n\nsep=;\nfile;who\na.jpg;Ann\nb.jpg;Bo\n"),
        ("labels.csv", " file , who \na.jpg,Ann\nb.jpg,Bo\n"),
        ("labels.csv", "file,who,\na.jpg,Ann,\nb.jpg,Bo,\n"),
        ("labels.txt", "file who\na.jpg   Ann\nb.jpg Bo\n"),
        ("labels.txt", "2\nfile who\na.jpg Ann\nb.jpg Bo\n"),
        ("labels.txt", "2\nwho\na.jpg Ann\nb.jpg Bo\n"),
        ("labels.csv", "\ufefffile,who\na.jpg,Ann\nb.jpg,Bo\n"),
        ("labels.csv", "file,who\na.jpg,Ann\nb.jpg,Bo\n".encode("utf-16")),
        ("labels.csv", b"\xfe\xff" + "file,who\na.jpg,Ann\nb.jpg,Bo\n".encode("utf-16-be")),
        ("labels.csv", "file,who\na.jpg,Ann\nb.jpg,Bo\n".encode("utf-32")),
        ("labels.csv.gz", gzip.compress(b"file,who\na.jpg,Ann\nb.jpg,Bo\n", mtime=0)),
    ],
)
def test_one_table_in_many_forms(read, name, content):
    assert read(content, name) == PEOPLE


def test_a_pipe_is_told_from_a_missing_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(InputError, match="is a pipe or device: save the table as a file"):
        read_table(tmp_path / "a.csv")


def test_a_name_with_brackets_is_no_pattern(read, tmp_path):
    (tmp_path / "labels1.csv").write_text("file,who\nother.jpg,Eve\n")
    assert read("file,who\na.jpg,Ann\nb.jpg,Bo\n", "labels[1].csv") == PEOPLE


def test_quoted_line_ends_delimiters_and_quotes(read):
    content = 'file,said\na.jpg,"one\ntwo, ""three"""\nb.jpg,5" nail; \r\n'
    assert read(content)["said"] == ['one\ntwo, "three"', '5" nail; ']
    table = 'file,"first\nname"\na.jpg,1\nb.jpg,2\n'
    assert list(read(table)) == ["file", "first\nname"]


def test_tab_separated_by_its_suffix(read):
    assert read("file\ta,b;c\na.jpg\t1\n", "labels.tsv") == {"file": ["a.jpg"], "a,b;c": ["1"]}


def test_another_delimiter_in_the_header_is_no_guess(read):
    """The file is well-formed with one of the two only; or it is told."""
    assert read("file;first, last\na.jpg;1\n") == {"file": ["a.jpg"], "first, last": ["1"]}
    with pytest.raises(InputError, match="reads as a table by comma and by semicolon"):
        read("file,a;b\na.jpg,1;2\n")


def test_columns_without_name_are_kept(read):
    """As pandas writes its row numbers."""
    assert read(",file,who\n0,a.jpg,Ann\n1,b.jpg,Bo\n") == {"column1": ["0", "1"], **PEOPLE}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file,a,b\nx.jpg,1\ny.jpg,0,22,9\n", "3 columns, but line 2 has 2, line 3 has 4"),
        ("a.csv", 'f,a\n"x\ny",1\nz,1,2\n', "2 columns, but line 4 has 3"),
        ("a.csv", "file,a\nx.jpg,1\nfile,a\ny.jpg,1\n", "line 3 is the header once more"),
        ("a.csv", "x.jpg,smiling\ny.jpg,smiling\n", "has no header"),
        ("a.csv", "000001,2880\n000002,2937\n", "has no header"),
        ("a.txt", "x.jpg smiling\ny.jpg smiling\n", "has no header"),
        ("a.csv", "file,a,A\nx.jpg,1,2\n", "two columns of one name, 'a' and 'A'"),
        ("a.csv", 'file,a\nx.jpg,"1\n', "line 2: a quote is opened and never closed"),
        ("a.csv", 'file,a\nx.jpg,"1" 2\n', "line 2: text follows a closing quote"),
        ("a.csv", 'file,a\nx.jpg,"a\\"b"\n', "line 2: text follows a closing quote"),
        ("a.csv", 'file,a\nx.jpg, "b"\n', "line 2: a blank stands before a quote"),
        ("a.csv", 'file,a\nx.jpg,"' + "y" * 200_000, "line 2: a value is over 131,072 characters"),
        ("a.csv", b"\0\0\0\x20ftypavif\xeb\0\n", r"is no text \(line 1 holds zero bytes\)"),
        ("a.csv", b"file,a\nx.jpg,\xe9t\xe9\n", "line 2: byte 0xe9 is not UTF-8.*Latin-1.*iconv"),
        ("a.csv", "file,a\nx.jpg,1\n".encode("utf-16-le"), "line 1 holds a zero byte.*UTF-16"),
        ("a.csv", "file,a\nx.jpg,1\n".encode("utf-16")[:-1], "is not UTF-16 after line 1"),
        ("a.csv", b"y" * (LONGEST + 9), "line 1 is over 16 MB long"),
        ("a.csv", "", "is empty"),
        ("a.csv", "\n \n", "is empty"),
        ("a.csv", "file,a\n", "has no rows"),
        ("a.csv", "file\nx.jpg\n", "at least one more"),
        ("a.csv", "file,\nx.jpg,\n", "at least one more"),
        ("a.csv.gz", gzip.compress(b"file,a\nx.jpg,1\n", mtime=0)[:-9], "damaged .gz"),
        ("a.txt", "3\nA B\nx.jpg 1 1\ny.jpg 1 1\n", "says in line 1 that it has 3 rows, and has 2"),
        ("a.txt", "A B\nx.jpg 1 1\ny.jpg 1\n", "has 3 columns, but line 3 has 2"),
        ("a.txt", "²\nA B\nx.jpg 1 1\n", "has no header"),
        ("a.txt", "9" * 5000 + "\nA B\nx.jpg 1 1\n", "has no header"),
        ("a.xlsx", b"PK\x03\x04....", "is a spreadsheet or an archive"),
        ("a.csv.bz2", b"BZh9....", "packed with bzip2"),
        ("a.json", '[{"file": "a.jpg", "a": 1}]', "JSON is not read"),
        ("a.parquet", b"PAR1garbage", "not a readable Parquet file"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_line(read, name, content, message):
    with pytest.raises(InputError, match=message) as e:
        read(content, name)
    assert "\n" not in str(e.value)
    assert name in str(e.value)


@pytest.mark.parametrize("name", ["", "nope.csv", "a\0b", "x" * 300])
def test_no_such_file(tmp_path, name):
    with pytest.raises(InputError):
        read_table(tmp_path / name)


def test_celebas_lists_of_two_columns(read):
    rows = "000001.jpg 2880\n000002.jpg 2937\n"
    files = ["000001.jpg", "000002.jpg"]
    assert read(rows, "identity_CelebA.txt") == {"file": files, "identity": ["2880", "2937"]}
    found = read(rows, "list_eval_partition.txt")
    assert found == {"file": files, "partition": ["2880", "2937"]}
    with pytest.raises(InputError, match="no header"):
        read(rows, "something.txt")


# -- types -------------------------------------------------------------------------------------

INT, FLOAT, BOOL, TEXT = pa.int64(), pa.float64(), pa.bool_(), pa.string()


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (["1", "-1", "0", ""], INT, [1, -1, 0, None]),
        ([" 1", "2 "], INT, [1, 2]),
        (["1", "nan", "NaN", "NA", "n/a", "null"], INT, [1, None, None, None, None, None]),
        (["0"] * 30_000 + [".55"], FLOAT, [0.0] * 30_000 + [0.55]),
        (["1", "2.5", "-.5", "3.", "1e+05", "2E-3"], FLOAT, [1, 2.5, -0.5, 3, 1e5, 2e-3]),
        (["1.5", "inf", "-Infinity", "nan"], FLOAT, [1.5, float("inf"), -float("inf"), None]),
        (["True", "false", "TRUE", ""], BOOL, [True, False, True, None]),
        (["007", "12"], TEXT, ["007", "12"]),
        (["+49", "12"], TEXT, ["+49", "12"]),
        (["12e4", "3456"], TEXT, ["12e4", "3456"]),
        (["1,5", "2"], TEXT, ["1,5", "2"]),
        (["1_000", "2"], TEXT, ["1_000", "2"]),
        (["9223372036854775807"], INT, [2**63 - 1]),
        (["9223372036854775808", "1"], TEXT, ["9223372036854775808", "1"]),
        (["9007199254740993", ".5"], TEXT, ["9007199254740993", ".5"]),
        (["-9223372036854775808", ".5"], TEXT, ["-9223372036854775808", ".5"]),
        (["1e+999", "1.0"], TEXT, ["1e+999", "1.0"]),
        (["2026-01-31", "2026-02-01"], TEXT, ["2026-01-31", "2026-02-01"]),
        (["01/02/2026"], TEXT, ["01/02/2026"]),
        (["true", "1"], TEXT, ["true", "1"]),
        (["yes", "no"], TEXT, ["yes", "no"]),
        (["Ann ", " Bo", "nan", "", "Nan", "NA"], TEXT, ["Ann ", " Bo", None, None, "Nan", "NA"]),
        (["", " "], TEXT, [None, None]),
        (["nan", ""], TEXT, [None, None]),
        (["1\n", "2"], TEXT, ["1\n", "2"]),
        (["٣", "4"], TEXT, ["٣", "4"]),
    ],
)
def test_a_type_holds_for_the_whole_column_and_alters_nothing(values, kind, wanted):
    found = typed(pa.chunked_array([values[:1], values[1:]], pa.string()))
    assert found.type == kind
    assert found.to_pylist() == wanted


def test_columns_of_parquet_keep_their_type_but_not_nan(tmp_path):
    path = tmp_path / "year=7" / "labels.parquet"
    path.parent.mkdir()
    data = pa.table(
        {
            "file": pa.array(["a", "b"]).dictionary_encode(),
            "age": pa.array([float("nan"), 3.5]),
            "half": np.array([1.5, np.nan], np.float16),
            "who": ["nan", "Bo"],
            "n": pa.array([1, None], pa.uint8()),
        }
    )
    pq.write_table(data, path)
    table = read_table(path)
    assert table.names == data.column_names  # and none of the folder's name
    assert table.text("file").to_pylist() == ["a", "b"]
    assert table.column("age").to_pylist() == [None, 3.5]
    assert table.column("half").to_pylist() == [1.5, None]
    assert table.column("who").to_pylist() == [None, "Bo"]
    assert table.column("n").type == pa.uint8()
    pq.write_table(data.rename_columns(["file", "a", "b", "A", "d"]), path)
    with pytest.raises(InputError, match="two columns of one name"):
        read_table(path)


# -- against an oracle -------------------------------------------------------------------------


def records(text: str, delimiter: str) -> list[list[str]] | None:
    """RFC 4180, character by character; None if the text is not well-formed."""
    rows: list[list[str]] = []
    row: list[str] = []
    value, state = "", "begin"
    text = text.removeprefix("\ufeff").replace("\r\n", "\n") if '"' not in text else text
    i = 0
    while i <= len(text):
        c = text[i] if i < len(text) else ""
        i += 1
        if state == "quoted":
            if c == "":
                return None
            if c != '"':
                value += c
            elif text[i : i + 1] == '"':
                value += '"'
                i += 1
            else:
                state = "closed"
        elif c == delimiter:
            row.append(value)
            value, state = "", "begin"
        elif c in ("\n", "\r", ""):
            row.append(value)
            if c == "\r" and text[i : i + 1] == "\n":
                i += 1
            if len(row) > 1 or row[0].strip():
                rows.append(row)
            row, value, state = [], "", "begin"
        elif state == "closed":
            return None
        elif c == '"' and state == "begin":
            state = "quoted"
        else:
            value += c
            state = "plain"
    return rows


def readings(text: str):
    """All tables that a text may be, header first."""
    text = text.removeprefix("\ufeff")
    for d in DELIMITERS:
        yield records(text, d)
    lines = [line.split() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    yield lines
    for body in (lines, lines[1:]):
        if body:
            yield [["file", *body[0]], *body[1:]]
            yield body


WORDS = ["a.jpg", "x y", "1", "-1", "007", "nan", "", "é", "a,b", "c;d", 'say "hi"', "l\nm", "0.5"]


def random_table(rng: random.Random) -> list[list[str]]:
    width = rng.randrange(2, 6)
    names = [f"{rng.choice('abcdef')} {i}" for i in range(width)]
    return [names, *([rng.choice(WORDS) for _ in names] for _ in range(rng.randrange(1, 9)))]


def test_well_formed_tables_in_many_dialects(read):
    for seed in range(600):
        rng = random.Random(seed)
        rows = random_table(rng)
        out = io.StringIO()
        end = rng.choice(["\n", "\r\n", "\r"])
        quoting = rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
        csv.writer(
            out,
            delimiter=rng.choice(list(DELIMITERS)),
            quoting=csv.QUOTE_ALL if end == "\r" else quoting,  # else csv leaves "\n" unquoted
            lineterminator=end,
        ).writerows(rows)
        encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32"])
        content = out.getvalue().encode(encoding)
        found = read(rng.choice([bytes, gzip.compress])(content))
        assert found == dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True)), (
            seed
        )


def test_mutated_tables_are_read_right_or_refused_in_one_line(read, tmp_path):
    """Whatever was read is one of the tables that the text may be."""
    good, refused = 0, []
    for seed in range(3000):
        rng = random.Random(seed)
        out = io.StringIO()
        csv.writer(out, delimiter=rng.choice(list(DELIMITERS))).writerows(random_table(rng))
        content = bytearray(out.getvalue().encode())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(content) + 1)
            how = rng.randrange(4)
            some = bytes(rng.choices(b'",;\t|\r\n\0 a1.\xff\xef\xbb\xbf', k=rng.randrange(1, 4)))
            if how == 0:
                content[at : at + 1] = some
            elif how == 1:
                del content[at : at + rng.randrange(1, 9)]
            elif how == 2:
                content[at:at] = some
            else:
                content[at:at] = content[: rng.randrange(30)]
        try:
            found = read(bytes(content))
        except InputError as e:
            refused.append(str(e))
            continue
        good += 1
        rows = list(zip(*found.values(), strict=True))
        possible = [
            [tuple(r) for r in table[1:]]
            for table in readings(content.decode())
            if table and len({len(r) for r in table}) == 1
        ]
        dropped = [[r[:-1] for r in table] for table in possible]  # a last column of nothing
        assert rows in possible or rows in dropped, (seed, json.dumps(content.decode()), found)
    assert 300 < good < 2700
    assert not [line for line in refused if "\n" in line]


def test_mutated_bytes_of_all_kinds(tmp_path):
    """Packed, wide and Parquet files too end in one line or in a table."""
    sheet = "file,a,b\n" + "".join(f"{i}.jpg,{i},x\n" for i in range(40))
    pq.write_table(pa.table({"file": ["a", "b"], "n": [1.0, 2.0]}), tmp_path / "t.parquet")
    sources = {
        "t.csv.gz": gzip.compress(sheet.encode()),
        "t.csv": sheet.encode("utf-16"),
        "list.txt": (ROOT / "tests" / "cases" / "list_attr_celeba.txt").read_bytes(),
        "u.parquet": (tmp_path / "t.parquet").read_bytes(),
    }
    refused = []
    for seed in range(800):
        rng = random.Random(seed)
        name, content = rng.choice(list(sources.items()))
        broken = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        if rng.random() < 0.3:
            del broken[rng.randrange(len(broken)) :]
        (tmp_path / name).write_bytes(broken)
        try:
            table = read_table(tmp_path / name)
            for column in table.names:
                table.column(column).validate(full=True)
        except InputError as e:
            refused.append(str(e))
    assert len(refused) > 100
    assert not [line for line in refused if "\n" in line]


def test_a_packed_file_cannot_fill_the_memory(read, monkeypatch):
    monkeypatch.setattr("ris.data.text_lines.LARGEST", 100_000)
    assert len(read(gzip.compress(b"file,a\n" + b"x.jpg,1\n" * 9_000))["a"]) == 9_000
    with pytest.raises(InputError, match="of text: keep the rows of your photos"):
        read(gzip.compress(b"file,a\n" + b"x.jpg,1\n" * 20_000))


def test_text_of_a_parquet_table_that_is_not_utf8_is_refused(tmp_path):
    bad = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 5, 10], np.int32).tobytes()), pa.py_buffer(b"a.jpgb.\xffpg")
    )
    pq.write_table(pa.table({"file": bad, "age": [1, 2]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"bad\.parquet"):
        read_table(tmp_path / "bad.parquet")
