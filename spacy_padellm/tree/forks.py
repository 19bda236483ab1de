"""What lets a forked process run a model that its parent has loaded or run."""

from __future__ import annotations

import os
import threading
import weakref
from functools import cache, partial
from types import TracebackType

import torch

# All locks there are, as forks have to find them, and those that a thread takes while it forks.
_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
_forking = threading.local()

# The number of ranks of locks.
_RANKS = 4


class ForkLock:
    """A lock around work that a fork must not copy when it is half done.

    The thread that holds it may take it again. A fork waits until no other thread holds it.

    Args:
        rank: A thread that holds a lock may take locks of higher ranks only. Forks take them in
            this order, too.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._lock = threading.RLock()
        _register()
        _locks.add(self)

    def __reduce__(self) -> tuple[type[ForkLock], tuple[int]]:
        return ForkLock, (self.rank,)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Open the lock in a forked process, whoever held it in the parent."""
        self._lock = threading.RLock()


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_take_all, after_in_parent=_release_all, after_in_child=_release_in_child
        )


def _take_all() -> None:
    _forking.taken = []
    for rank in range(_RANKS):
        # Those of the next rank are looked up once nobody can make new ones under this one.
        for lock in [each for each in list(_locks) if each.rank == rank]:
            lock.__enter__()
            _forking.taken.append(lock)


def _release_all() -> None:
    for lock in reversed(_forking.taken):
        lock.__exit__(None, None, None)


def _release_in_child() -> None:
    made_since = set(_locks) - set(_forking.taken)
    _release_all()
    for lock in made_since:
        lock.renew()


@cache
def use_one_thread_in_forks() -> None:
    """Let torch use one thread in each process that is forked from this one.

    The threads that torch started exist only in the parent. A forked process would wait for them
    forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
