"""Samples of several members: names told apart by a pattern, and dictionaries of batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fastzip import _zip, errors
from fastzip._dropin import NpzFile
from fastzip._signals import let_pass

_PLACES: Final = {"{sample}": r"(?P<sample>.*[^/])", "{field}": r"(?P<field>[^./]+)"}


class Groups:
    """The samples of an archive, each of several members; `group` makes one.

    Parameters
    ----------
    npz, pattern, fields, missing : optional
        As for `group`.

    Attributes
    ----------
    npz : NpzFile
        The archive.
    samples : list of str
        What ``{sample}`` stands for, in the archive's order: that of each sample's first member.
    fields : list of str
        What ``{field}`` stands for, as they were asked for, or in the archive's order.
    positions : ndarray of int64, shape (len(samples), len(fields))
        Where the members are; read-only.
    others : ndarray of int64
        The positions of members that belong to no sample here: their names don't match, their field
        wasn't asked for, or their sample is incomplete and ``missing="skip"``.

    Notes
    -----
    Never changes, so it can be shared by threads. Pickling carries the archive and the pattern, not
    the names.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, **{"img/7": np.eye(2), "img/8": np.eye(2), "lab/7": 1, "lab/8": 0})
    >>> groups = fastzip.group(fastzip.load(file.getvalue()), "{field}/{sample}")
    >>> len(groups), groups.fields
    (2, ['img', 'lab'])
    >>> groups.positions
    array([[0, 2],
           [1, 3]])
    """

    def __init__(
        self,
        npz: NpzFile,
        pattern: str | re.Pattern[str],
        fields: Sequence[str] | None,
        missing: str,
    ) -> None:
        self.npz = npz
        self._made_of = npz, pattern, fields, missing
        self._rows: dict[str, int] | None = None
        samples, columns, where, self.others = _divide(npz, _compile(pattern), fields)
        if not len(where):
            first = npz.files[:1]
            example = f", such as {first[0]!r}" if first else ""
            raise ValueError(f"{npz.index.where}: no name matches {_text(pattern)!r}{example}")
        of_samples = dict.fromkeys(samples)
        of_fields = dict.fromkeys(columns) if fields is None else dict.fromkeys(fields)
        rows = _numbers(of_samples, samples)
        cells = rows * len(of_fields) + _numbers(of_fields, columns)
        flat = np.full(len(of_samples) * len(of_fields), -1, np.int64)
        flat[cells] = where
        double = np.flatnonzero(flat[cells] != where)
        if len(double):
            raise self._doubled(int(where[double[0]]))
        positions = flat.reshape(len(of_samples), len(of_fields))
        self.samples, self.fields = list(of_samples), list(of_fields)
        complete = (positions >= 0).all(axis=1)
        if not complete.all():
            if missing == "error":
                raise self._incomplete(positions, int(np.flatnonzero(~complete)[0]))
            left = positions[~complete]
            self.others = np.sort(np.concatenate([self.others, left[left >= 0]]))
            positions = positions[complete]
            self.samples = [self.samples[i] for i in np.flatnonzero(complete)]
        positions.flags.writeable = self.others.flags.writeable = False
        self.positions: npt.NDArray[np.int64] = positions

    def _doubled(self, position: int) -> ValueError:
        index = self.npz.index
        name = index.name(position)
        text = "there is another member for the same sample and field"
        doubled: ValueError = errors.refusal(
            "doubled", f"{errors.place(index.where, name)}: {text}", index.where, name
        )
        return doubled

    def _incomplete(self, positions: npt.NDArray[np.int64], row: int) -> ValueError:
        index = self.npz.index
        lacks = [repr(f) for f, at in zip(self.fields, positions[row], strict=True) if at < 0]
        has = index.name(int(positions[row].max()))
        text = (
            f"{index.where}: sample {self.samples[row]!r} has {has!r}, and no "
            f"{' and no '.join(lacks)}; missing='skip' leaves out such samples"
        )
        incomplete: ValueError = errors.refusal("incomplete", text, index.where, has)
        return incomplete

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        fields = ", ".join(self.fields)
        return f"<{len(self):,} samples of {fields} in {self.npz.index.where}>"

    def __reduce__(self) -> Any:
        return Groups, self._made_of

    def rows(self, samples: Any) -> npt.NDArray[np.int64]:
        """Where samples stand in `samples` and `positions`.

        Parameters
        ----------
        samples : sequence
            Names in `samples`; numbers of rows (negative ones count from the end); an integer
            array; a slice; or a boolean mask with an element for each sample.

        Returns
        -------
        ndarray of int64
            Of shape ``(len(samples),)``.

        Raises
        ------
        KeyError, IndexError
            If there is no such sample.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, **{"7.label": 1, "8.label": 0, "9.label": 1})
        >>> groups = fastzip.group(fastzip.load(file.getvalue()), "{sample}.{field}")
        >>> groups.rows(["9", "7"]), groups.rows(slice(1, None))
        (array([2, 0]), array([1, 2]))
        """
        if not isinstance(samples, slice):
            _zip.check_order(samples, "samples")
            samples = np.asarray(samples if hasattr(samples, "__array__") else list(samples))
            if samples.size == 0:
                samples = slice(0)
            elif samples.dtype.kind in "UTO":
                return self._by_name(samples.tolist())
        rows: npt.NDArray[np.int64] = np.arange(len(self), dtype=np.int64)[samples]
        if rows.ndim != 1:
            raise TypeError(f"samples must be one-dimensional, not of shape {rows.shape}")
        return rows

    def _by_name(self, names: list[str]) -> npt.NDArray[np.int64]:
        if self._rows is None:
            self._rows = {name: i for i, name in enumerate(self.samples)}
        try:
            return np.array([self._rows[name] for name in names], np.int64)
        except KeyError as exc:
            let_pass(exc)
            name, where = exc.args[0], self.npz.index.where
            text = f"{name} is not a sample of the archive"
            raise _zip.no_name(text, name, self._rows, where) from None

    def keys(self, samples: Any, field: str) -> npt.NDArray[np.int64]:
        """The positions of one field's members, as keys for the archive's own methods.

        Parameters
        ----------
        samples : sequence
            As for `rows`.
        field : str
            One of `fields`.

        Returns
        -------
        ndarray of int64
            Of shape ``(len(samples),)``: positions in the archive.

        Raises
        ------
        KeyError, IndexError
            If there is no such sample or field.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, **{"7.text": np.arange(3), "7.label": 1, "8.text": np.arange(2),
        ...                   "8.label": 0})
        >>> groups = fastzip.group(fastzip.load(file.getvalue()), "{sample}.{field}")
        >>> groups.npz.fetch_padded(groups.keys(["8", "7"], "text"))[0]
        array([[0, 1, 0],
               [0, 1, 2]])
        """
        if field not in self.fields:
            text = f"{field} is not a field; there are {', '.join(self.fields)}"
            raise _zip.no_name(text, field, self.fields, self.npz.index.where)
        column: npt.NDArray[np.int64] = self.positions[:, self.fields.index(field)]
        return column[self.rows(samples)]

    def fetch(
        self, samples: Any, fields: Sequence[str] | None = None, *, threads: int | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Read samples: for each field a batch, made by `NpzFile.fetch`.

        Parameters
        ----------
        samples : sequence
            As for `rows`.
        fields : sequence of str, optional
            Which of them; all by default. Where members of a field differ in length, leave it out,
            and give its `keys` to `NpzFile.fetch_padded` or `NpzFile.fetch_ragged`.
        threads : int, optional
            As for `NpzFile.fetch`.

        Returns
        -------
        dict
            From each field to an ndarray of shape (len(samples), \\*shape).

        Raises
        ------
        KeyError, IndexError
            If there is no such sample or field.
        ValueError, BadZipFile
            As `NpzFile.fetch`.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, **{"7.image": [5], "7.label": 1, "8.image": [6], "8.label": 0})
        >>> groups = fastzip.group(fastzip.load(file.getvalue()), "{sample}.{field}")
        >>> groups.fetch(["8", "7"], ["label"])
        {'label': array([0, 1])}
        """
        if fields is not None:
            _zip.check_order(fields, "fields")
        rows = self.rows(samples)
        keys = {f: self.keys(rows, f) for f in (self.fields if fields is None else fields)}
        return {field: self.npz.fetch(key, threads=threads) for field, key in keys.items()}


def _text(pattern: str | re.Pattern[str]) -> str:
    return pattern if isinstance(pattern, str) else pattern.pattern


def _compile(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    """The pattern as a regular expression with the groups sample and field."""
    if not isinstance(pattern, str):
        if not {"sample", "field"} <= set(pattern.groupindex):
            raise ValueError(f"{pattern.pattern!r} needs the named groups sample and field")
        return pattern
    if any(pattern.count(place) != 1 for place in _PLACES):
        raise ValueError(f"{pattern!r} must have one {{sample}} and one {{field}}")
    parts = re.split(r"(\{sample\}|\{field\})", pattern)
    return re.compile("".join(_PLACES.get(part) or re.escape(part) for part in parts), re.DOTALL)


def _divide(
    npz: NpzFile, pattern: re.Pattern[str], fields: Sequence[str] | None
) -> tuple[list[str], list[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Samples and fields of the members that match, their positions, and those of the others."""
    sample, field = pattern.groupindex["sample"], pattern.groupindex["field"]
    wanted = None if fields is None else frozenset(fields)
    others = np.zeros(len(npz), bool)
    one: dict[str, str] = {}  # each text once: 143 MB for a million names, not 284
    samples, columns = [], []
    for position, match in enumerate(map(pattern.fullmatch, npz.index.keys())):
        if match is None or (wanted is not None and match[field] not in wanted):
            others[position] = True
            continue
        samples.append(one.setdefault(match[sample], match[sample]))
        columns.append(one.setdefault(match[field], match[field]))
    return samples, columns, np.flatnonzero(~others), np.flatnonzero(others)


def _numbers(names: dict[str, Any], each: list[str]) -> npt.NDArray[np.int64]:
    """For each of these names the number of its first appearance."""
    numbers = dict(zip(names, range(len(names)), strict=True))
    return np.fromiter(map(numbers.__getitem__, each), np.int64, len(each))


def group(
    npz: NpzFile,
    pattern: str | re.Pattern[str],
    *,
    fields: Sequence[str] | None = None,
    missing: Literal["error", "skip"] = "error",
) -> Groups:
    """Find the samples of an archive that keeps several members for each.

    Parameters
    ----------
    npz : NpzFile
        The archive.
    pattern : str or re.Pattern
        What keys look like (names without ``.npy``), with ``{sample}`` and ``{field}`` in it, such
        as ``"{sample}.{field}"`` for ``0001.image`` and ``0001.label``, or ``"{field}/{sample}"``
        for ``img/0001`` and ``lab/0001``. A field has no dot or slash in it, a sample may. Or a
        regular expression with named groups ``sample`` and ``field`` that matches whole keys.
    fields : sequence of str, optional
        Which fields a sample has, in this order; all that are found by default. Others are left
        out.
    missing : {'error', 'skip'}, optional
        What to do with samples that lack a field: refuse them, or leave them out.

    Returns
    -------
    Groups
        `samples`, `fields`, their `positions`, and `Groups.fetch`, which makes a dictionary of
        batches.

    Raises
    ------
    ValueError
        If no name matches; if two members are of the same sample and field (``.code`` is
        ``doubled``), or a sample lacks a field (``incomplete``): ``.member`` names it.

    Notes
    -----
    Names that don't match belong to no sample, and are listed in ``Groups.others``. It takes about
    a second for a million names.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, **{"7.image": np.eye(2), "7.label": 1, "8.image": np.eye(2), "8.label": 0})
    >>> groups = fastzip.group(fastzip.load(file.getvalue()), "{sample}.{field}")
    >>> groups.samples, groups.fields
    (['7', '8'], ['image', 'label'])
    >>> batch = groups.fetch(["8", "7"])
    >>> batch["image"].shape, batch["label"]
    ((2, 2, 2), array([0, 1]))
    """
    if missing not in ("error", "skip"):
        raise ValueError(f"missing must be 'error' or 'skip', not {missing!r}")
    if fields is not None:
        _zip.check_order(fields, "fields")
    return Groups(npz, pattern, None if fields is None else tuple(fields), missing)
