"""Random changes of fingerprints: pure functions of a batch and draws, per occurring feature or per slot."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from molbt.draws import Draws
from molbt.nn.fingerprint_encoder import FingerprintBatch


def drop_items(batch: FingerprintBatch, rate: float, draws: Draws) -> FingerprintBatch:
    """Leave out each item with probability ``rate``."""
    return _keep(batch, draws.uniform_items(batch.row_of_item, batch.ids) >= rate)


def scale_counts(batch: FingerprintBatch, spread: float, draws: Draws, *, log1p: bool) -> FingerprintBatch:
    """Multiply each count by a number uniform in ``1 ± spread``, but not below a count of 1.

    ``log1p`` says that the weights are ``log(1 + count)``, and not the counts themselves.
    """
    factor = 1 + spread * (2 * draws.uniform_items(batch.row_of_item, batch.ids) - 1)
    counts = (torch.expm1(batch.weights) if log1p else batch.weights) * factor
    counts = counts.clamp(min=1.0)
    weights = torch.log1p(counts) if log1p else counts
    return FingerprintBatch(batch.ids, weights, batch.row_of_item, batch.offsets, batch.width)


def add_absent(batch: FingerprintBatch, present: FingerprintBatch, expected: float, draws: Draws, *, weight: float) -> FingerprintBatch:
    """Switch on features that ``present`` does not hold.

    Each row has ``2 · ⌈expected⌉`` slots; a slot is used with the probability that makes ``expected`` of them, and names a feature
    uniform in the width. One that is present, or that an earlier slot named, changes nothing.

    Parameters
    ----------
    batch : FingerprintBatch
        Receives the features; its rows and those of ``present`` are the same, ids rising within each.
    present : FingerprintBatch
        What counts as present: the rows before features were dropped.
    expected : float
        Mean number of slots used per row.
    draws : Draws
    weight : float
        Weight of the new items.
    """
    n_slots = 2 * math.ceil(expected)
    row = torch.arange(batch.n_rows, device=batch.ids.device).repeat_interleave(n_slots)
    slot = torch.arange(n_slots, device=batch.ids.device).repeat(batch.n_rows)
    used = draws.uniform_items(row, slot) < expected / n_slots
    row, slot = row[used], slot[used]
    feature = (draws.stream("feature").uniform_items(row, slot) * batch.width).to(torch.int64).clamp(max=batch.width - 1)
    # One sorted number per (row, feature) turns both questions, "is it present?" and "where does it belong?", into a binary search.
    new = torch.unique(row * batch.width + feature)
    occurring = present.row_of_item * batch.width + present.ids
    place = torch.searchsorted(occurring, new)
    absent = (place == len(occurring)) | (new != torch.cat([occurring, new.new_full((1,), -1)])[place])
    return _merge_sorted(batch, new[absent], weight)


def drop_whole_kind(batch: FingerprintBatch, rate: float, draws: Draws, *, starts: Sequence[int]) -> FingerprintBatch:
    """Leave out, with probability ``rate`` per row, all items of one kind; ``starts`` are the first features of the kinds' blocks."""
    boundaries = torch.tensor(starts[1:], device=batch.ids.device)
    kind_of_item = torch.bucketize(batch.ids, boundaries, right=True)
    dropped = (draws.stream("which").uniform() * len(starts)).to(torch.int64).clamp(max=len(starts) - 1)
    dropped = torch.where(draws.uniform() < rate, dropped, -1)
    return _keep(batch, kind_of_item != dropped[batch.row_of_item])


def _keep(batch: FingerprintBatch, kept: Tensor) -> FingerprintBatch:
    before = torch.zeros(len(kept) + 1, dtype=torch.int64, device=kept.device)
    torch.cumsum(kept, 0, out=before[1:])
    place = kept.nonzero().squeeze(1)  # once, where three boolean masks would each search again
    return FingerprintBatch(batch.ids[place], batch.weights[place], batch.row_of_item[place], before[batch.offsets], batch.width)


def _merge_sorted(batch: FingerprintBatch, new: Tensor, weight: float) -> FingerprintBatch:
    """Insert items given as sorted numbers ``row · width + id`` that the batch does not hold."""
    old = batch.row_of_item * batch.width + batch.ids
    at_new = torch.searchsorted(old, new) + torch.arange(len(new), device=new.device)
    is_old = torch.ones(len(old) + len(new), dtype=torch.bool, device=new.device)
    is_old[at_new] = False
    merged = torch.empty(len(is_old), dtype=torch.int64, device=new.device)
    merged[is_old], merged[at_new] = old, new
    weights = torch.full((len(is_old),), weight, dtype=batch.weights.dtype, device=new.device)
    weights[is_old] = batch.weights
    row_of_item = merged // batch.width
    rows = torch.arange(batch.n_rows + 1, device=new.device)
    return FingerprintBatch(merged % batch.width, weights, row_of_item, torch.searchsorted(row_of_item, rows), batch.width)
