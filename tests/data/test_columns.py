"""Columns against NumPy: gathering, unsigned types, and the way to disk and back."""

import numpy as np
import pytest
import torch

from molbt.data.columns import FixedColumn, RaggedColumn, read_column, write_column
from molbt.errors import DataError, ShapeError

LENGTHS = [3, 0, 2, 5, 0, 1, 0]
OFFSETS = np.cumsum([0, *LENGTHS])
N_ITEMS = sum(LENGTHS)


def fields() -> dict[str, np.ndarray]:
    """One field of each type, with values on both sides of the sign bit."""
    return {
        "id": np.linspace(0, 65_535, N_ITEMS).astype(np.uint16),
        "wide": np.linspace(0, 2**32 - 1, N_ITEMS).astype(np.uint32),
        "count": np.linspace(0, 255, N_ITEMS).astype(np.uint8),
        "weight": np.linspace(-1, 1, N_ITEMS).astype(np.float32),
        "position": np.arange(3 * N_ITEMS, dtype=np.int16).reshape(N_ITEMS, 3) - 10,
    }


def assert_gathers(column: RaggedColumn, index: list[int]) -> None:
    batch = column.gather(torch.tensor(index, dtype=torch.int64))
    assert batch.n_rows == len(index)
    assert batch.offsets.tolist() == np.cumsum([0, *(LENGTHS[i] for i in index)]).tolist()
    assert batch.row_of_item.tolist() == [row for row, i in enumerate(index) for _ in range(LENGTHS[i])]
    for name, values in fields().items():
        expected = np.concatenate([values[:0], *(values[OFFSETS[i] : OFFSETS[i + 1]] for i in index)])
        np.testing.assert_array_equal(batch.fields[name].numpy(), expected)


@pytest.mark.parametrize("index", [[0, 1, 2, 3, 4, 5, 6], [5, 3, 3, 0], [1], [1, 4, 6], [6, 2], []])
def test_ragged_column_gathers_entries_in_the_order_asked_for(index):
    assert_gathers(RaggedColumn.from_numpy(fields(), OFFSETS), index)


def test_ragged_column_keeps_unsigned_values_above_the_sign_bit():
    column = RaggedColumn.from_numpy(fields(), OFFSETS)
    batch = column.gather(torch.arange(len(LENGTHS)))
    assert batch.fields["id"].max() == 65_535
    assert batch.fields["wide"].max() == 2**32 - 1
    assert batch.fields["id"].dtype == batch.fields["wide"].dtype == torch.int64
    assert batch.fields["count"].dtype == torch.uint8
    assert {name: array.dtype for name, array in column.arrays().items()} == {
        "offsets": np.dtype(np.int64),
        **{f"field.{name}": array.dtype for name, array in fields().items()},
    }


def test_ragged_column_without_entries_can_be_gathered():
    column = RaggedColumn.from_numpy({"id": np.zeros(0, np.uint16)}, np.zeros(1, np.int64))
    assert len(column) == 0
    assert column.gather(torch.zeros(0, dtype=torch.int64)).n_rows == 0


def test_ragged_column_refuses_fields_that_do_not_fit_the_offsets():
    with pytest.raises(ShapeError, match="field 'id' has 4 items, but the offsets end at 5"):
        RaggedColumn.from_numpy({"id": np.zeros(4, np.uint16)}, np.array([0, 2, 5]))


def test_ragged_column_survives_the_disk_memory_mapped(tmp_path):
    write_column(RaggedColumn.from_numpy(fields(), OFFSETS), tmp_path / "column")
    column = read_column(tmp_path / "column")
    assert isinstance(column, RaggedColumn)
    assert column.unsigned == {"id", "wide"}
    assert_gathers(column, [6, 5, 3, 3, 0])
    stored = np.load(tmp_path / "column" / "field.id.npy", allow_pickle=False)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, fields()["id"])


def test_ragged_column_of_empty_entries_survives_the_disk(tmp_path):
    write_column(RaggedColumn.from_numpy({"id": np.zeros(0, np.uint16)}, np.zeros(4, np.int64)), tmp_path / "column")
    batch = read_column(tmp_path / "column").gather(torch.tensor([2, 0]))
    assert batch.n_rows == 2
    assert len(batch.fields["id"]) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int32, np.bool_])
def test_fixed_column_survives_the_disk_memory_mapped(tmp_path, dtype):
    values = (np.arange(24).reshape(6, 4) % 3).astype(dtype)
    write_column(FixedColumn.from_numpy(values), tmp_path / "column")
    column = read_column(tmp_path / "column")
    assert isinstance(column, FixedColumn)
    assert len(column) == 6
    np.testing.assert_array_equal(column.gather(torch.tensor([5, 0, 0])).numpy(), values[[5, 0, 0]])


def test_columns_read_from_disk_are_mapped_and_never_change_the_file(tmp_path):
    write_column(FixedColumn.from_numpy(np.zeros((1000, 4), np.float32)), tmp_path / "column")
    before = (tmp_path / "column" / "values.npy").read_bytes()
    values = read_column(tmp_path / "column").values
    with open("/proc/self/maps") as maps:
        assert str(tmp_path / "column" / "values.npy") in maps.read()
    values.fill_(1)
    assert (tmp_path / "column" / "values.npy").read_bytes() == before


def test_read_column_says_when_a_directory_holds_no_column(tmp_path):
    with pytest.raises(DataError, match=r"expected values\.npy or offsets\.npy in .*prepare the corpus again"):
        read_column(tmp_path)


def test_read_column_loads_no_pickle(tmp_path):
    np.save(tmp_path / "values.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="arrays of objects are never loaded"):
        read_column(tmp_path)
