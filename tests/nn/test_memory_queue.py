"""The queue of earlier rows against a list."""

import pytest
import torch

from molbt.nn.memory_queue import MemoryQueue


@pytest.mark.parametrize("size", [1, 5, 8, 40])
def test_queue_keeps_the_newest_rows(size):
    queue, pushed = MemoryQueue(size, 3), []
    for count in (3, 5, 0, 7, 1, 12):
        numbers = torch.arange(len(pushed), len(pushed) + count)
        queue.push(numbers[:, None].expand(-1, 3).float(), numbers)
        pushed += numbers.tolist()
        kept = queue.is_filled
        assert sorted(queue.entities[kept].tolist()) == pushed[-size:]
        assert torch.equal(queue.rows[kept], queue.entities[kept, None].expand(-1, 3).float())
        assert (queue.entities[~kept] == -1).all()
        assert queue.share_filled.item() == pytest.approx(min(1, len(pushed) / size))


def test_queue_is_part_of_the_state():
    queue, other = MemoryQueue(5, 3), MemoryQueue(5, 3)
    queue.push(torch.randn(7, 3), torch.arange(7))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.ones(2, 3), torch.tensor([8, 9]))
    assert torch.equal(queue.rows, other.rows)
    assert torch.equal(queue.entities, other.entities)
