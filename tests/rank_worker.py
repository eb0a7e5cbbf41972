"""One process of a group: runs the functions that the ``on_ranks`` fixture names, until its pipe closes.

Called as ``rank_worker.py FILE_DESCRIPTOR RANK WORLD_SIZE RENDEZVOUS_FILE``.
"""

import importlib.util
import os
import sys
import traceback
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection
from types import ModuleType

import torch
import torch.distributed as dist

GROUP_TIMEOUT = timedelta(seconds=120)


@cache
def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"on_ranks_{abs(hash(path))}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(descriptor: int, rank: int, world_size: int, rendezvous: str) -> None:
    connection = Connection(descriptor)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size, timeout=GROUP_TIMEOUT)
    while True:
        try:
            path, name, arguments = connection.recv()
        except EOFError:
            break
        try:
            reply = None, getattr(load(path), name)(rank, world_size, **arguments)
        except Exception:
            reply = traceback.format_exc(), None
        connection.send(reply)
    # Taking torch down in order takes seconds, and nothing is left to save.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
