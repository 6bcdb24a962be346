"""Archives as a ``tf.data.Dataset``.

What `dataset` makes is what ``model.fit`` takes::

    model.fit(dataset("images.npz", labels, batch_size=64, shuffle=True), epochs=3)
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import tensorflow as tf
except ImportError as _exc:
    raise ImportError("fastzip.tf needs TensorFlow: pip install 'tensorflow>=2.16'") from _exc

from fastzip._train import Samples

__all__ = ["dataset"]


def dataset(
    source: Any,
    *arrays: Any,
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = None,
    drop_remainder: bool = False,
    threads: int | None = None,
) -> tf.data.Dataset:
    """Batches of the members of archives, and of arrays indexed alike.

    Indices are shuffled and batched, then batches are read in parallel and in order, a few ahead.

    Parameters
    ----------
    source, *arrays : path, NpzFile, (one of these, keys), list of these, or array
        As for `fastzip.torch.ArchiveDataset`.
    batch_size : int
        Samples in a batch.
    shuffle : bool, optional
        Another order in each epoch, over all samples: only their indices are held.
    seed : int, optional
        Makes that order repeatable.
    drop_remainder : bool, optional
        Leave out the last batch if it is smaller.
    threads : int, optional
        For each batch; None for the archive's ``threads``, or else `fastzip.get_num_threads`.

    Returns
    -------
    tf.data.Dataset
        Of tensors, or with `arrays` tuples of tensors, of known cardinality and shape.

    Raises
    ------
    TypeError
        If a source can't be taken.
    ArrayError
        If members of an archive are of another dtype or shape than others, or no arrays:
        `fastzip.errors.ArrayError`, which names them.
    ValueError
        If one of `arrays` has another length than `source`, or there is no sample. What is
        wrong with a member surfaces as ``tf.errors.UnknownError`` or ``InvalidArgumentError`` that
        names it, where TensorFlow reads it.

    Notes
    -----
    Threads of TensorFlow's read the batches, two at a time, from archives that all of them share.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> from fastzip.tf import dataset
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
    >>> data = dataset(fastzip.load(file.getvalue()), [0, 1, 0, 1], batch_size=3)
    >>> int(data.cardinality())
    2
    >>> [labels.numpy().tolist() for images, labels in data]
    [[0, 1, 0], [1]]
    """
    samples = Samples(source, *arrays, threads=threads, maker="dataset")
    if not len(samples):
        raise ValueError("there is no sample")
    first = samples.fetch([0])

    def read(indices: Any) -> Any:
        batches = tf.numpy_function(samples.fetch, [indices], [part.dtype for part in first])
        size = batch_size if drop_remainder else None
        for batch, part in zip(batches, first, strict=True):
            batch.set_shape((size, *part.shape[1:]))
        return tuple(batches) if len(batches) > 1 else batches[0]

    data = tf.data.Dataset.range(len(samples), output_type=np.int64)
    if shuffle:
        data = data.shuffle(len(samples), seed=seed, reshuffle_each_iteration=True)
    data = data.batch(batch_size, drop_remainder=drop_remainder)
    data = data.map(read, num_parallel_calls=2, deterministic=True)
    return data.prefetch(2)
