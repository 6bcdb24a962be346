"""`Loader`: shuffled epochs of batches, read ahead by native threads, resumable to the batch."""

from __future__ import annotations

import functools
import operator
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    NamedTuple,
    Protocol,
    Required,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import numpy as np
import numpy.typing as npt

from fastzip import _zip
from fastzip._signals import from_handler, let_pass
from fastzip._train import order as _order
from fastzip._train.feeds import Padded, Ragged, Samples, Source, feeds

if TYPE_CHECKING:  # a plain "Loader" in an annotation is one of any batches
    import typing_extensions

    Item_co = typing_extensions.TypeVar("Item_co", covariant=True, default=Any)
else:
    Item_co = TypeVar("Item_co", covariant=True)
Made = TypeVar("Made")
Array: TypeAlias = npt.NDArray[Any]
Pair: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
Pairs: TypeAlias = Padded | Ragged

__all__ = ["Loader"]


class Plain(Protocol):
    """What makes an array of each batch: an archive, an array, or one of them and its keys."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Options(TypedDict, total=False):
    """The keywords of `Loader`, so that its overloads needn't repeat them."""

    batch_size: Required[int]
    shuffle: bool
    seed: int
    drop_last: bool
    prefetch: int
    threads: int | None
    rank: int
    world_size: int
    bucket_by_length: int | None


class Usual(Options, total=False):
    """The keywords of a `Loader` that hands out batches as they are."""

    collate: None


_VERSION: Final = 1
"""Of the dictionary that `Loader.state_dict` makes."""
_IN_USE: Final = "the iterator is in use already: one thread at a time, and no signal handler"
_OVER: Final = object()
_OF_BUCKETS: Final = ("bucket_by_length", "step", "lengths")
_CHOSEN: Final = ("length", "shuffle", "seed", *_OF_BUCKETS)
"""What the order is made of: a state is good for a loader that has the same."""


def _whole(value: object, what: str, least: int, below: int = 1 << 62) -> int:
    """The value as an integer in this range."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # NumPy's integers have it as well
    except TypeError as exc:
        let_pass(exc)
        number = least - 1
    if isinstance(value, bool) or not least <= number < below:
        top = "" if below == 1 << 62 else f" and below {below:,}"
        raise ValueError(f"{what} must be an integer from {least} on{top}, not {value!r}")
    return number


_Init = TypeVar("_Init", bound=Callable[..., None])
_OF_OTHERS: Final = {
    "num_workers": "it has threads instead of processes, as many as threads= says",
    "collate_fn": "it is collate= here, and gets the batch",
    "pin_memory": "fastzip.torch.ArchiveDataset has it",
}
"""What people give to torch's DataLoader, and what there is for it."""


def _says_what_there_is(init: _Init) -> _Init:
    """Have an unknown parameter of other loaders' answered by what to write here."""

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        for name in _OF_OTHERS.keys() & options.keys():
            raise TypeError(f"Loader has no parameter {name!r}: {_OF_OTHERS[name]}")
        init(self, *args, **options)

    return cast(_Init, checked)


class _Progress:
    """How far an iterator has come; its loader looks at that of the one it made last.

    A signal's handler may raise at any call, so what belongs together is one object, and takes the
    place of the one before by a single assignment."""

    def __init__(self, epoch: int, position: int, resumes: bool = False) -> None:
        self.at = epoch, position
        self.resumes = resumes
        """Does the loader's next iterator begin at this position?"""


class Loader(Generic[Item_co]):
    """Epochs of batches, in an order that is a function of (seed, epoch) alone.

    Native threads inflate the next batches while the loop computes, without Python's lock. Each
    batch lies in memory of its own, which serves again when the last view of it is gone.

    Parameters
    ----------
    source : NpzFile, array, (NpzFile or array, keys), Padded or Ragged
        Where the samples come from. Sample i is member i of an archive in the order of its `files`,
        or row i of an array; or ``keys[i]`` of it, where the keys are what `NpzFile.fetch` takes:
        names, positions, a slice, a boolean mask. Folders and the litter of macOS and Windows are
        no samples. `Padded` and `Ragged` stand for members of different lengths.
    *arrays : as for source, or a sequence
        More of each sample, such as its label; as many samples as `source` has. Lists, columns of
        pandas and Polars, tensors and the like are taken by position, and made an array now. What
        has a shape and a dtype and reads its rows when it is indexed, such as an HDF5 or Zarr
        array, is asked for each batch.
    batch_size : int
        Samples of a batch of this rank. The last batch of an epoch may have fewer.
    shuffle : bool, optional
        A new order in each epoch; without it samples come as they are numbered.
    seed : int, optional
        From 0 to 2 ** 64 - 1: which orders `shuffle` gives.
    drop_last : bool, optional
        Leave out what is left when no more full batches for all ranks can be made. All ranks have
        the same number of batches then.
    prefetch : int, optional
        How many batches are read ahead, besides the one that was handed out. With 0 a batch is read
        when it is asked for.
    threads : int, optional
        How many threads work on one batch; None for the archive's ``threads``, or else
        `get_num_threads`.
    rank, world_size : int, optional
        This process is number `rank` of `world_size` that share the epoch: each sample comes once,
        in one of them.
    collate : callable, optional
        Makes what is handed out of each batch, in the thread that iterates.
    bucket_by_length : int, optional
        Make batches of samples of about one length, so that less of them is filling: sort so many
        steps' samples at a time, where a step is a batch of each rank. 1 sorts within a step alone;
        100 is much, and still a random order. Lengths are those of the first source that is
        `Padded` or `Ragged`; they are looked at when the loader is made.

    Raises
    ------
    TypeError, ValueError
        If a source isn't one, the sources differ in length, or a number is out of its range; if
        there are no lengths to `bucket_by_length`.
    ArrayError
        If members of an archive can't be samples beside the others: `errors.ArrayError`, whose
        ``.failed`` lists them. Their sizes, and the fronts of those of unusual size, tell.
    KeyError, IndexError
        If an archive doesn't have one of the keys.

    Notes
    -----
    Iterating gives a tuple ``(x, y, …)`` of arrays, one for each source, or the array itself if
    there is one source. In the place of an array `Padded` gives a tuple ``(batch, lengths)`` and
    `Ragged` a tuple ``(values, offsets)``.

    It goes through the epoch `epoch` and then counts that up. Every call of ``iter`` gives an
    iterator of its own, which begins at the epoch's start, or, once after `load_state_dict`, where
    the state was taken. `state_dict` tells of the one made last.

    What is wrong with a batch, such as a damaged member, is raised when that batch is due, as
    `NpzFile.fetch` raises it; ``next`` goes on with the one behind it. Whatever else is raised
    meanwhile, such as by Ctrl-C or another signal's handler, comes out of ``next`` within a
    fraction of a second, stops the reading ahead and skips nothing: the batch that follows is the
    first one that ``next`` hasn't returned. The end of the loop stops the reading ahead as well, by
    ``break``, an exception or a lost reference, and so does ``close()`` of the iterator.

    An iterator is for one thread at a time. In a forked child it goes on from where it was. A
    pickled loader carries its sources, its parameters and its state, and no iterator.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(5)})
    >>> images, labels = fastzip.load(file.getvalue()), np.arange(5) * 10
    >>> loader = fastzip.Loader(images, labels, batch_size=2, shuffle=True, seed=7)
    >>> len(loader)
    3
    >>> for image, label in loader:
    ...     print(image.tolist(), label)
    [[4, 4], [1, 1]] [40 10]
    [[3, 3], [2, 2]] [30 20]
    [[0, 0]] [0]
    >>> loader.epoch
    1
    """

    @overload
    def __init__(
        self: Loader[Made],
        source: Any,
        *arrays: Any,
        collate: Callable[[Any], Made],
        **kw: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(self: Loader[Pair], source: Pairs, **kw: Unpack[Usual]) -> None: ...
    @overload
    def __init__(self: Loader[Array], source: Plain, **kw: Unpack[Usual]) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Pair]], a: Pairs, b: Pairs, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Array]], a: Pairs, b: Plain, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Pair]], a: Plain, b: Pairs, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Array]], a: Plain, b: Plain, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Pair, Pair]], a: Pairs, b: Pairs, c: Pairs, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Pair, Array]], a: Pairs, b: Pairs, c: Plain, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Array, Pair]], a: Pairs, b: Plain, c: Pairs, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Pair, Array, Array]],
        a: Pairs,
        b: Plain,
        c: Plain,
        /,
        **kw: Unpack[Usual],
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Pair, Pair]], a: Plain, b: Pairs, c: Pairs, /, **kw: Unpack[Usual]
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Pair, Array]],
        a: Plain,
        b: Pairs,
        c: Plain,
        /,
        **kw: Unpack[Usual],
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Array, Pair]],
        a: Plain,
        b: Plain,
        c: Pairs,
        /,
        **kw: Unpack[Usual],
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[tuple[Array, Array, Array]],
        a: Plain,
        b: Plain,
        c: Plain,
        /,
        **kw: Unpack[Usual],
    ) -> None: ...
    @overload
    def __init__(
        self: Loader[Any], a: Any, b: Any, c: Any, d: Any, /, *arrays: Any, **kw: Unpack[Usual]
    ) -> None: ...
    @_says_what_there_is
    def __init__(
        self,
        source: Any,
        *arrays: Any,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        prefetch: int = 2,
        threads: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        collate: Callable[[Any], Any] | None = None,
        bucket_by_length: int | None = None,
    ) -> None:
        if collate is not None and not callable(collate):
            raise TypeError(f"collate must be callable, not {type(collate).__name__}")
        self._sources = feeds((source, *arrays))
        self._length = len(self._sources[0])
        self.batch_size = _whole(batch_size, "batch_size", 1)
        self.shuffle = bool(shuffle)
        self.seed = _whole(seed, "seed", 0, _order.SEEDS)
        self.drop_last = bool(drop_last)
        self.prefetch = _whole(prefetch, "prefetch", 0)
        self.threads = None if threads is None else _zip.thread_count(threads)
        self.world_size = _whole(world_size, "world_size", 1)
        self.rank = _whole(rank, "rank", 0, self.world_size)
        self.collate = collate
        self.bucket_by_length = bucket_by_length
        self._lengths: Samples | None = None
        if bucket_by_length is not None:
            self.bucket_by_length = _whole(bucket_by_length, "bucket_by_length", 1)
            self._lengths = self._find_lengths()
            self._lengths_crc = zlib.crc32(self._lengths.astype("<i8").tobytes())
        self._progress = _Progress(0, 0)

    def _find_lengths(self) -> Samples:
        """By what samples are sorted."""
        for each in self._sources:
            if isinstance(each, (Padded, Ragged)):
                return each._lengths(self.threads)
        raise ValueError("bucket_by_length needs a source with lengths: Padded or Ragged")

    @property
    def epoch(self) -> int:
        """The epoch that is being gone through, or comes next."""
        return self._progress.at[0]

    def __len__(self) -> int:
        """How many batches a whole epoch has for this rank."""
        return _order.batches(
            self._length, self.batch_size, self.drop_last, self.rank, self.world_size
        )

    def __iter__(self) -> Iterator[Item_co]:
        before = self._progress
        epoch, position = before.at
        progress = _Progress(epoch, position if before.resumes else 0)
        batches = _Batches(self, self._sources, self._order_of(epoch), self._length, progress)
        self._progress = progress  # nothing can be raised any more: the state isn't used up in vain
        return batches

    def _order_of(self, epoch: int) -> Samples | None:
        """The order of an epoch's samples; None for 0, 1, 2, …"""
        order = _order.shuffled(self._length, self.seed, epoch) if self.shuffle else None
        if self._lengths is None or self.bucket_by_length is None:
            return order
        key = (self.seed, epoch) if self.shuffle else None
        order = np.arange(self._length, dtype=np.int64) if order is None else order
        step = self.batch_size * self.world_size
        _order.bucket(order, self._lengths, step, self.bucket_by_length, key)
        return order

    def __repr__(self) -> str:
        names = ("batch_size", "shuffle", "seed", "drop_last", "prefetch", "threads", "rank")
        options = [f"{name}={getattr(self, name)!r}" for name in (*names, "world_size")]
        if self.bucket_by_length is not None:
            options.append(f"bucket_by_length={self.bucket_by_length}")
        if self.collate is not None:
            name = getattr(self.collate, "__qualname__", type(self.collate).__qualname__)
            options.append(f"collate={name}")
        return f"Loader({', '.join([*map(repr, self._sources), *options])})"

    def set_epoch(self, epoch: int) -> None:
        """Go to this epoch's beginning; nothing changes if it is the current one.

        Iterators that exist go on as they were.

        Parameters
        ----------
        epoch : int
            From 0 to 2 ** 64 - 1.

        Raises
        ------
        ValueError
            If it is no such number.

        Examples
        --------
        >>> import numpy as np, fastzip
        >>> loader = fastzip.Loader(np.arange(4), batch_size=4, shuffle=True)
        >>> loader.set_epoch(7)
        >>> loader.epoch
        7
        """
        epoch = _whole(epoch, "epoch", 0, _order.SEEDS)
        if epoch != self.epoch:
            self._progress = _Progress(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """How far the iterator that was made last has come, as what JSON holds.

        Batches count when they have been handed out. It is the same for all ranks that have handed
        out as many.

        Returns
        -------
        dict
            ``version``; ``length``, ``shuffle`` and ``seed``, which make the order; ``epoch``; and
            ``position``, how many samples of the epoch all ranks together are through with. With
            `bucket_by_length` that number as well, ``step``, the samples of a step, and
            ``lengths``, a CRC-32 of all lengths: they make the order, too.

        Examples
        --------
        >>> import numpy as np, fastzip
        >>> loader = fastzip.Loader(np.arange(10), batch_size=4)
        >>> batches = iter(loader)
        >>> next(batches)
        array([0, 1, 2, 3])
        >>> state = loader.state_dict()
        >>> state["epoch"], state["position"]
        (0, 4)
        """
        epoch, position = self._progress.at
        chosen: dict[str, Any] = {"length": self._length, "shuffle": self.shuffle}
        chosen["seed"] = self.seed
        if self._lengths is not None:
            chosen["bucket_by_length"] = self.bucket_by_length
            chosen["step"] = self.batch_size * self.world_size
            chosen["lengths"] = self._lengths_crc
        return {"version": _VERSION, **chosen, "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iterator go on where this state was taken.

        Every sample of the epoch that had not been handed out then comes once, also if `batch_size`
        or `world_size` are others now; with `bucket_by_length` their product must be the same.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.

        Raises
        ------
        ValueError
            If it is no such state, or one of a loader of another length, `shuffle`, `seed` or
            `bucket_by_length`: its samples would come in another order. Nothing changes then.

        Examples
        --------
        >>> import numpy as np, fastzip
        >>> loader = fastzip.Loader(np.arange(10), batch_size=4)
        >>> _ = next(iter(loader))
        >>> again = fastzip.Loader(np.arange(10), batch_size=3)
        >>> again.load_state_dict(loader.state_dict())
        >>> list(again)
        [array([4, 5, 6]), array([7, 8, 9])]
        """
        ours = self.state_dict()
        needed = [name for name in ours if name not in _OF_BUCKETS]
        missing = [name for name in needed if name not in state]
        if missing:
            raise ValueError(f"this is no state of a Loader: it lacks {', '.join(missing)}")
        for name in ("version", *_CHOSEN):
            theirs = state.get(name)
            if theirs != ours.get(name):
                raise ValueError(
                    f"the state is of a Loader of {name} {theirs!r}, and this one is of "
                    f"{ours.get(name)!r}"
                )
        epoch = _whole(state["epoch"], "epoch", 0, _order.SEEDS)
        position = _whole(state["position"], "position", 0, self._length + 1)
        self._progress = _Progress(epoch, position, resumes=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_progress": _Progress(*self._progress.at, resumes=True)}


class _Begun(NamedTuple):
    """A batch that was begun: where in the epoch it begins and ends, and what each source has in
    work. Sources that aren't there, or have None, are read when the batch is due."""

    start: int
    stop: int
    samples: Samples
    parts: list[Any]


class _Batches(Iterator[Item_co]):
    """One pass through an epoch, or the rest of it.

    An exception of a signal's handler may come out of any call, and out of the clean-up after
    another one. So there is one thing that says which batch is next: `_progress.at`, which is
    assigned when nothing can be raised any more before `next` returns. `_begun` is what happens to
    be in work: a batch there that isn't the next one is of no use, and one that was stopped, or is
    half begun, is read when it is due.
    """

    _begun: tuple[_Begun, ...] = ()  # for `__del__`, if it was interrupted before it began

    def __init__(
        self,
        loader: Loader[Item_co],
        sources: list[Source],
        order: _order.Order | None,
        length: int,
        progress: _Progress,
    ) -> None:
        self._sources, self._progress = sources, progress
        self._batch_size, self._threads = loader.batch_size, loader.threads
        self._rank, self._world_size = loader.rank, loader.world_size
        self._prefetch, self._collate = loader.prefetch, loader.collate
        self._order, self._length = order, length
        self._epoch, at = progress.at
        left = _order.batches(
            length - at, self._batch_size, loader.drop_last, self._rank, self._world_size
        )
        self._end = min(length, at + left * self._batch_size * self._world_size)
        self._closed = False
        self._failures: Any = ()  # what is a batch's own failure when it is raised now
        self._busy = False

    def __next__(self) -> Item_co:
        if self._busy:
            raise ValueError(_IN_USE)
        try:
            self._busy = True  # no call stands in between, so nobody else's turn comes
            result, begun, at = self._take()
            # Nor from here to the caller: no signal's handler has its turn any more.
            self._begun, self._progress.at = begun, at
            if result is _OVER:
                raise StopIteration
            return result  # type: ignore[no-any-return]
        finally:
            self._busy = False

    def _take(self) -> tuple[Any, tuple[_Begun, ...], tuple[int, int]]:
        """The next batch, or _OVER; what is in work besides, and how far the iterator has come with
        it."""
        epoch, at = self._progress.at
        if self._closed or epoch != self._epoch:
            return _OVER, self._begun, (epoch, at)
        try:
            self._failures = ()
            if self._begun and self._begun[0].start != at:
                self._drop()
            self._begin(at)
            if not self._begun:
                return _OVER, (), (epoch + 1, 0)
            batch = self._begun[0]
            return self._deliver(batch), self._begun[1:], (epoch, batch.stop)
        except BaseException as exc:
            begun = self._begun
            through = isinstance(exc, self._failures) and not _is_foreign(exc)
            self._drop()
            if through:
                self._progress.at = epoch, begun[0].stop
            raise

    def _begin(self, at: int) -> None:
        """Begin what is to be in work, the batch that begins here and those behind it."""
        while len(self._begun) <= self._prefetch:
            start = self._begun[-1].stop if self._begun else at
            if start >= self._end:
                break
            samples = _order.batch(
                self._order, self._length, start, self._batch_size, self._rank, self._world_size
            )
            stop = min(self._length, start + self._batch_size * self._world_size)
            batch = _Begun(start, stop, samples, [])
            self._begun = (*self._begun, batch)
            if self._prefetch:
                for source in self._sources:
                    batch.parts.append(source._begin(samples, self._threads))

    def _deliver(self, batch: _Begun) -> Any:
        parts = []
        for source, begun in zip_longest(self._sources, batch.parts):
            # What a signal's handler raises while members are read is no failure of theirs.
            self._failures = source._failures
            parts.append(source._take(batch.samples, self._threads, begun))
        self._failures = Exception
        result = parts[0] if len(parts) == 1 else tuple(parts)
        if self._collate is None:
            return result
        try:
            return self._collate(result)
        except StopIteration as exc:  # it would look like the epoch's end
            raise RuntimeError("collate raised StopIteration") from exc

    def _drop(self) -> None:
        """Nothing is read ahead any more. What is stopped stays until all of it is, since this may
        be interrupted."""
        begun = self._begun
        for batch in begun:
            for part in batch.parts:
                if part is not None:
                    part.stop()
        self._begun = ()
        for batch in begun:
            batch.parts.clear()  # a traceback may hold the batch

    def close(self) -> None:
        """Stop reading ahead; there are no more batches.

        Raises
        ------
        ValueError
            If the iterator is in use, as by a signal handler that interrupted it.
        """
        if self._busy:
            raise ValueError(_IN_USE)
        self._closed = True
        self._drop()

    def __del__(self) -> None:
        self._drop()

    def __reduce__(self) -> Any:
        raise TypeError("an iterator can't be pickled; its Loader can, and carries its state")


def _is_foreign(exc: BaseException) -> bool:
    """Is it none of the batch's: a signal handler's, or is the batch undone since one forked?"""
    return getattr(exc, "code", "") == "interrupted" or from_handler(exc)
