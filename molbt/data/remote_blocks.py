"""Blocks of values on an executor: each is one shard, and a worker isolates the molecules in it as this process would."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from molbt.data.executors import ShardExecutor
from molbt.data.isolation import isolating, map_blocks, map_each
from molbt.data.molecules import ParsePolicy

_R = TypeVar("_R")


def map_numbered_blocks(
    function: Callable[[Sequence[str], ParsePolicy], _R],
    blocks: Iterable[list[str]],
    policy: ParsePolicy,
    *,
    n_values: int,
    executor: ShardExecutor | None = None,
    n_jobs: int = 1,
    refused: dict[str, str] | None = None,
) -> Iterator[tuple[int, _R]]:
    """Yield the number and the result of each block: as `map_each` does, or from an executor, in the order in which they are done.

    Parameters and errors are those of `map_each` and `ShardExecutor.map`; ``n_jobs`` counts the processes for one block.
    """
    refused = {} if refused is None else refused
    if executor is None or executor.is_local:
        yield from enumerate(map_each(function, blocks, policy, n_values=n_values, n_jobs=n_jobs, refused=refused))
        return
    work = _Isolated(function, policy, n_jobs, dict(refused))
    for _, (number, result, found) in executor.map(work, _named(blocks)):
        refused |= found
        yield number, result


def _named(blocks: Iterable[list[str]]) -> Iterator[tuple[str, tuple[int, list[str]]]]:
    start = 0
    for number, block in enumerate(blocks):
        yield f"{start}-{start + len(block)}", (number, block)
        start += len(block)


@dataclass(frozen=True)
class _Isolated(Generic[_R]):
    """The work on a block, on another machine: its number, its result, and the values that were found to be fatal."""

    function: Callable[[Sequence[str], ParsePolicy], _R]
    policy: ParsePolicy
    n_jobs: int
    refused: dict[str, str] = field(default_factory=dict)

    def __call__(self, block: tuple[int, list[str]]) -> tuple[int, _R, dict[str, str]]:
        number, values = block
        refused = dict(self.refused)
        options: dict[str, Any] = {"n_jobs": self.n_jobs, "block_size": max(len(values), 1), "refused": refused}
        with isolating():  # a block may be small; the table it is from is not
            [result] = map_blocks(self.function, values, self.policy, **options)
        return number, result, refused
