"""Where a table comes from: a CSV or Parquet file, or a frame; read by pyarrow, a batch of rows at a time."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from composite_flow.errors import FileError, InputError

_BLOCK_BYTES = 2**24  # of a CSV file, read at once
_ROWS = 2**17  # of a Parquet file or a frame


@runtime_checkable
class RowParts(Protocol):
    """A table that is read part by part, each as columns by their names; it can be read more than once."""

    @property
    def column_names(self) -> Sequence[str]:
        """Of all columns."""
        ...

    def parts(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of each part."""
        ...


@dataclass(frozen=True, eq=False)
class OpenedTable:
    """A table that can be read more than once.

    Attributes:
        name: for sentences.
        path: of the file; None for a frame.
        table: the frame as a `pyarrow.Table`, or what is read part by part; None for a file.
        names: of its columns.
    """

    name: str
    path: Path | None
    table: Any
    names: tuple[str, ...]

    def check_has(self, columns: Collection[str]) -> None:
        """Refuse columns that are not there, or there twice."""
        for column in columns:
            if self.names.count(column) != 1:
                times = "twice" if column in self.names else "not at all"
                some = ", ".join(self.names[:8]) + (" …" if len(self.names) > 8 else "")
                raise InputError(f"{self.name} has the column {column!r} {times}; its columns are {some}.")

    def batches(self, columns: Sequence[str], numbers: Collection[str], texts: Collection[str]) -> Iterator[Any]:
        """The table's `pyarrow.RecordBatch`es with these columns alone.

        Args:
            columns: to read.
            numbers: those to read as float64.
            texts: those to read as text.

        Raises:
            FileError: the file cannot be read, or a column of numbers holds something else.
            InputError: the same of a frame.
        """
        with _naming(self):
            for batch in self._batches(list(columns), numbers, texts):
                yield _converted(self, batch, numbers, texts)

    def _batches(self, columns: list[str], numbers: Collection[str], texts: Collection[str]) -> Iterator[Any]:
        import pyarrow as pa

        if isinstance(self.table, RowParts):
            for part in self.table.parts():
                yield from pa.table(part).select(columns).to_batches(max_chunksize=_ROWS)
        elif self.path is None:
            yield from self.table.select(columns).to_batches(max_chunksize=_ROWS)
        elif self.path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            with parquet.ParquetFile(self.path, pre_buffer=False) as file:  # else it may hold the whole file
                yield from file.iter_batches(_ROWS, columns=columns)
        else:
            types = {name: pa.float64() for name in numbers} | {name: pa.string() for name in texts}
            with _open_csv(self.path, columns, types) as reader:
                yield from reader


def open_source(table: Any) -> OpenedTable:
    """The source of a table.

    Args:
        table: a path that ends in .csv or .parquet, or anything with Arrow's interface (frames of pandas, polars and
            others, tables of pyarrow), or columns by their names.

    Raises:
        InputError: pyarrow is not installed, or the table is none of these.
        FileError: the file is missing or damaged.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise InputError(
            "Tables are read by pyarrow, which is not installed; run pip install 'composite-flow[tables]'."
        ) from error
    if isinstance(table, str | Path):
        return _open_file(Path(table))
    if isinstance(table, RowParts):
        return OpenedTable("The table", None, table, tuple(table.column_names))
    try:
        read = table if isinstance(table, pa.Table) else pa.table(table)
    except (TypeError, ValueError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise InputError(f"A table is a path, a frame with Arrow's interface, or columns by name ({said}).") from error
    return OpenedTable("The table", None, read, tuple(map(str, read.column_names)))


def _open_file(path: Path) -> OpenedTable:
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{path} is no table that can be read here; its name must end in .csv or .parquet.")
    if not path.is_file():
        raise FileError(f"{path} does not exist, or is no file.")
    path = path.resolve()
    unread = OpenedTable(str(path), path, None, ())
    with _naming(unread):
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            names = parquet.read_schema(path).names
        else:
            with _open_csv(path, None, {}) as reader:
                names = reader.schema.names
    return OpenedTable(str(path), path, None, tuple(names))


def _open_csv(path: Path, columns: list[str] | None, types: dict[str, Any]) -> Any:
    from pyarrow import csv

    convert = csv.ConvertOptions(column_types=types, include_columns=columns or [], strings_can_be_null=True)
    return csv.open_csv(path, csv.ReadOptions(block_size=_BLOCK_BYTES), convert_options=convert)


@contextmanager
def _naming(source: OpenedTable) -> Iterator[None]:
    """Turn what pyarrow raises into a sentence that names the table."""
    import pyarrow as pa

    kind = InputError if source.path is None else FileError
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = re.sub(r"CSV column #(\d+)", lambda found: _column(source, int(found[1])), " ".join(str(error).split()))
        raise kind(f"{source.name} cannot be read ({said}).") from error


def _column(source: OpenedTable, place: int) -> str:
    """The name of a column that pyarrow tells by its number."""
    return f"column {source.names[place]!r}" if place < len(source.names) else f"column {place}"


def _converted(source: OpenedTable, batch: Any, numbers: Collection[str], texts: Collection[str]) -> dict[str, Any]:
    """The batch's columns: numbers as float64 of NumPy, NaN where they are missing; others as Arrow's arrays."""
    import pyarrow as pa

    found: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in numbers:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                raise InputError(
                    f"{source.name}: the column {name!r} holds text where numbers are needed; say "
                    f"types={{{name!r}: 'one of k'}} if its values are one of a few."
                )
            column = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=False)
            found[name] = column.to_numpy(zero_copy_only=False)
        else:
            found[name] = column.cast(pa.string()) if name in texts else column
    return found


def coded(column: Any, levels: dict[Any, int]) -> tuple[np.ndarray, list[Any]]:
    """The place of each value among the levels, −1 where it is missing; and values that are no level yet."""
    encoded = column.dictionary_encode() if not hasattr(column, "dictionary") else column
    values = encoded.dictionary.to_pylist()
    new = [value for value in values if value is not None and value not in levels]
    places = np.array([levels.get(value, -1) for value in values] + [-1], np.int64)
    indices = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return places[indices], new


def key_numbers(column: Any) -> np.ndarray:
    """Steps or episodes as an array that can be compared: numbers, times as nanoseconds, or text."""
    import pyarrow as pa

    if pa.types.is_temporal(column.type):
        column = (
            column.cast(pa.timestamp("ns")).cast(pa.int64())
            if pa.types.is_timestamp(column.type)
            else column.cast(pa.int64())
        )
    return column.to_numpy(zero_copy_only=False)
