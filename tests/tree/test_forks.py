"""Forked processes."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from spacy_padellm.tree.forks import ForkLock

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="processes are forked on POSIX systems only"
)


def run_in_fork(work: Callable[[], object]) -> int:
    """The exit status: 0 if the work ended well, 14 if it took more than five seconds."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status


def take(*locks: ForkLock) -> None:
    for lock in locks:
        with lock:
            pass


class Holder(threading.Thread):
    """A thread that holds a lock for a while, and then does something under it."""

    def __init__(self, lock: ForkLock, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.lock, self.then = lock, then
        self.is_held, self.is_done = threading.Event(), False

    def run(self) -> None:
        with self.lock:
            self.is_held.set()
            threading.Event().wait(0.3)
            self.then()
            self.is_done = True


def hold(lock: ForkLock, then: Callable[[], object] = lambda: None) -> Holder:
    thread = Holder(lock, then)
    thread.start()
    thread.is_held.wait()
    return thread


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_fork_waits_for_the_thread_that_holds_a_lock(rank):
    lock = ForkLock(rank)
    thread = hold(lock)
    assert run_in_fork(lambda: take(lock)) == 0
    assert thread.is_done
    take(lock)


def test_a_fork_of_the_thread_that_holds_the_lock_holds_it_too():
    lock = ForkLock(0)
    with lock:
        assert run_in_fork(lambda: lock.__exit__(None, None, None)) == 0
        take(lock)


def test_a_fork_during_a_load():
    """The thread takes locks of higher ranks, and makes new ones, while the fork waits for it."""
    pipeline, loading = ForkLock(0), ForkLock(1)
    made = []

    def load() -> None:
        with loading:
            for _ in range(20):
                made.append(ForkLock(2))
                take(*made)

    thread = hold(pipeline, load)
    assert run_in_fork(lambda: take(pipeline, loading, *made)) == 0
    assert thread.is_done and len(made) == 20
    take(pipeline, loading, *made)


def test_a_lock_that_is_made_while_a_process_forks(monkeypatch):
    """Another thread holds it in the parent, and nobody does in the child."""
    lock, threads = ForkLock(2), []

    def wait(self) -> None:
        self._lock.acquire()
        if self is lock and not threads:
            threads.append(hold(ForkLock(0)))

    monkeypatch.setattr(ForkLock, "__enter__", wait)
    child = run_in_fork(lambda: take(lock, threads[0].lock))
    monkeypatch.undo()
    threads[0].join()
    assert child == 0


def test_a_lock_that_is_gone_holds_nothing_up():
    lock = ForkLock(2)
    inner = lock._lock
    with_inner = threading.Thread(target=inner.acquire)
    with_inner.start()
    with_inner.join()
    del lock
    gc.collect()
    assert run_in_fork(lambda: None) == 0


def test_a_copy_is_another_lock():
    lock = ForkLock(1)
    with lock:
        copy = pickle.loads(pickle.dumps(lock))
        thread = threading.Thread(target=take, args=(copy,))
        thread.start()
        thread.join(5)
        assert copy.rank == 1 and not thread.is_alive()


# Threads of torch's are there only after a first run, and in a process that has not forked yet.
SCRIPT = """
import os, signal, torch
from spacy_padellm.tree.forks import use_one_thread_in_forks
use_one_thread_in_forks()
torch.set_num_threads(2)
weights = torch.rand(600, 600)
expected = weights @ weights
child = os.fork()
if child == 0:
    signal.alarm(30)
    assert torch.allclose(weights @ weights, expected) and torch.get_num_threads() == 1
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0 and torch.get_num_threads() == 2
"""


def test_torch_runs_in_a_fork():
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120, env=environment)
