"""What the text of a table's column is: whole numbers, numbers, truth values, or text.

A column has a type only if all of its values have it, from the first row to the last, and if
writing the typed value would say the same number. So these stay text, as they are written:

- numbers with leading zeros or a plus (``007``, ``+49``), with a comma, or with an exponent that
  has no sign (``12e4`` may be a name);
- whole numbers beyond 64 bits, and beyond 2**53 where other values have a fraction;
- dates in any form: those as ``2026-01-31`` sort rightly as text.

Unknown is NULL: an empty value in every column, ``nan`` and ``NaN`` in every column, and ``NA``,
``N/A`` and ``null`` (in any case) in a column that holds nothing else but numbers or truth values.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_UNKNOWN = r"(?i)^(-?nan|na|n/a|null)$"
_NAN = r"^(nan|NaN)$"
_TRUTH = r"(?i)^(true|false)$"
_WHOLE = r"^(0|-?[1-9][0-9]*)$"
_FRACTION = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-][0-9]+)?$"
_INFINITE = r"(?i)^[+-]?inf(inity)?$"
_EXACT = 2**53  # whole numbers up to here are doubles too


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A text column as int64, float64, bool or text, by the rule above.

    Blanks around numbers and truth values do not count; text keeps its own.
    """
    text = pc.ascii_trim(column, " \t")
    values = pc.unique(text.combine_chunks() if text.num_chunks > 1 else text)
    known = values.filter(pc.invert(_matches(values, _UNKNOWN + "|^$")))
    kind = _type_of(known.drop_null())
    if pa.types.is_string(kind):
        return _keep(column, pc.invert(_matches(text, _NAN + "|^$")))
    return _keep(text, pc.invert(_matches(text, _UNKNOWN + "|^$"))).cast(kind)


def without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that has a type already, with NULL for NaN; half precision becomes single, and
    a dictionary its values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_float16(kind):
        kind = pa.float32()
        column = column.cast(kind)
    if pa.types.is_floating(kind):
        return _keep(column, pc.invert(pc.is_nan(column)))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _keep(column, pc.invert(_matches(column, _NAN)))
    return column


def _type_of(values: pa.Array) -> pa.DataType:
    if not len(values):
        return pa.string()
    if _all(values, _TRUTH):
        return pa.bool_()
    whole = _matches(values, _WHOLE)
    try:
        integers = values.filter(whole).cast(pa.int64())
    except pa.ArrowInvalid:  # more than 64 bits
        return pa.string()
    if len(integers) == len(values):
        return pa.int64()
    if not _all(values, f"{_FRACTION}|{_INFINITE}"):
        return pa.string()
    if len(integers) and max(-pc.min(integers).as_py(), pc.max(integers).as_py()) > _EXACT:
        return pa.string()
    finite = values.filter(pc.invert(_matches(values, _INFINITE))).cast(pa.float64())
    return pa.float64() if pc.all(pc.is_finite(finite)).as_py() is not False else pa.string()


def _matches(values: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(values, pattern)


def _all(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(_matches(values, pattern)).as_py())


def _keep(column: pa.ChunkedArray, kept: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(kept, column, pa.scalar(None, column.type))
