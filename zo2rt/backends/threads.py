"""A stream as a thread: what it is given runs in order, and a failure stops everything."""

from collections.abc import Callable
from math import inf
from queue import SimpleQueue
from threading import Lock, Thread, current_thread, main_thread
from time import perf_counter

from zo2rt.backends.base import StreamFailed
from zo2sim.schedule.ops import Track

Action = Callable[[], None]


class Gate:
    """Closed, then open for good. Half the cost of `threading.Event`: one lock, no condition.

    ``opened_s`` is when, by `perf_counter`; infinite before.
    """

    __slots__ = ("_lock", "is_open", "opened_s")

    def __init__(self) -> None:
        self.is_open = False
        self.opened_s = inf
        self._lock = Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let everybody pass. Must be called once."""
        self.opened_s = perf_counter()
        self.is_open = True
        self._lock.release()

    def wait(self) -> None:
        """Block until the gate is open."""
        if not self.is_open:
            with self._lock:
                pass


class Failure:
    """The first exception of any stream of a backend; once there is one, no more work runs."""

    def __init__(self) -> None:
        self._where = ""
        self._error: BaseException | None = None
        self._closed = False

    def guard(self, track: Track, label: str, work: Action) -> None:
        """Run ``work`` unless something failed before; keep what it raises."""
        if self._error is not None:
            return
        try:
            work()
        except BaseException as error:  # whatever escaped from a thread would hang the others
            self._where, self._error = f"{label} on stream {track}", error
            if not isinstance(error, Exception) and current_thread() is main_thread():
                raise

    def check(self) -> None:
        """Raise `StreamFailed` if work has failed, ``RuntimeError`` if the backend is closed."""
        if self._error is not None:
            raise StreamFailed(
                f"{self._where} raised {self._error!r}; "
                f"what it was to compute is missing: close the backend and recover"
            ) from self._error
        if self._closed:
            raise RuntimeError("the backend is closed; open another one")

    def close(self) -> bool:
        """Refuse every further call; whether this was the first time."""
        first, self._closed = not self._closed, True
        return first


class StreamThread:
    """A thread that runs actions in the order in which they were put. Actions must not raise."""

    def __init__(self, track: Track, prepare: Action = lambda: None) -> None:
        self.track = track
        self._actions: SimpleQueue[Action | None] = SimpleQueue()
        self._num_put = 0
        self._num_done = 0
        self._prepare = prepare
        self._thread = Thread(target=self._run, name=f"stream {track}", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The thread's, as `threading.get_ident` tells it there."""
        return self._thread.ident

    @property
    def idle(self) -> bool:
        """Whether everything put so far is done; stays so until the next `put`."""
        return self._num_put == self._num_done

    def put(self, action: Action) -> None:
        self._num_put += 1
        self._actions.put(action)

    def close(self) -> None:
        """Wait until everything is done and end the thread."""
        self._actions.put(None)
        self._thread.join()

    def _run(self) -> None:
        self._prepare()
        while (action := self._actions.get()) is not None:
            action()
            del action  # keep nothing alive while waiting for the next one
            self._num_done += 1
