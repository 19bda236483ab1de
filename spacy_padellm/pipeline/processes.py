"""`nlp.pipe` with several processes."""

from __future__ import annotations

import multiprocessing

import torch


def use_one_thread_if_forked() -> None:
    """A forked process lacks the threads that torch started in its parent, and would wait for them
    forever. Where there are several processes, one thread in each is enough.
    """
    forked = multiprocessing.get_start_method(allow_none=True) in (None, "fork")
    if forked and multiprocessing.parent_process() is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
