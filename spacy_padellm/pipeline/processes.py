"""`nlp.pipe` with several processes."""

from __future__ import annotations

import multiprocessing

import torch


def use_one_thread_if_forked() -> None:
    """A forked process has none of the threads that torch's in its parent wait for: it would wait
    forever. Several processes need no more than a thread each, either.
    """
    forked = multiprocessing.get_start_method(allow_none=True) in (None, "fork")
    if forked and multiprocessing.parent_process() is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
