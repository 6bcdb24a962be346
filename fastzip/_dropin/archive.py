"""`ZipFile`: the reading side of `zipfile.ZipFile`, natively.

`import fastzip as zipfile` works for programs that read. Writing is the standard library's, of
whose class this is a subclass.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final, Literal, SupportsIndex, TypeAlias

import numpy as np

from fastzip import _zip, errors
from fastzip._batch import Extraction, Many, aligned, pieces
from fastzip._npy import ArrayReader
from fastzip._signals import from_handler, let_pass
from fastzip._zip import (
    NO_LIMITS,
    Identity,
    Index,
    Limits,
    Opened,
    Positions,
    absolute_path,
    check_file,
    check_seekable,
    check_separate,
    described_file,
    open_file,
    open_same,
    random_access,
    refuse_devices,
    writable,
)

__all__ = ["Path", "ZipFile"]

Member: TypeAlias = str | zipfile.ZipInfo
Names: TypeAlias = Iterable[Member | SupportsIndex] | slice
_CLOSED: Final = "Attempt to use ZIP archive that was already closed"
_LISTS: Final = ("filelist", "NameToInfo")


def _is_cp437(encoding: str) -> bool:
    """Is it what names without the UTF-8 flag are in by default?"""
    try:
        return codecs.lookup(encoding).name == "cp437"
    except LookupError as exc:  # so no name had to be decoded
        let_pass(exc)
        return False


@contextlib.contextmanager
def _told_as_ours() -> Iterator[None]:
    """`except fastzip.BadZipFile` is to catch what the standard library refuses."""
    try:
        yield
    except zipfile.BadZipFile as exc:
        if isinstance(exc, errors.BadZipFile) or from_handler(exc):
            raise
        raise errors.BadZipFile(*exc.args) from exc


class ZipFile(zipfile.ZipFile):
    """An open ZIP archive: `zipfile.ZipFile`, but read natively.

    Parameters
    ----------
    file : path or binary file object
        Plain files and `io.BytesIO` are read natively; of other file objects the standard library
        reads what is asked for, in its own way, and nothing is read into memory as a whole.
    mode : {'r', 'w', 'x', 'a'}, optional
        All but 'r' are the standard library's own.
    compression, allowZip64, compresslevel, strict_timestamps : optional
        For writing; as for `zipfile.ZipFile`.
    metadata_encoding : str, optional
        The encoding of names without the UTF-8 flag; None: code page 437 (APPNOTE D.1).
    strict, max_members, max_total_size, max_member_size : optional
        As for `fastzip.load`.
    verify : bool, optional
        Compare the CRC-32 of every member that is read. Without it damaged data go unnoticed.
    threads : int, optional
        Threads for `read_many`, `testzip` and `extractall`; None for `get_num_threads`.

    Raises
    ------
    BadZipFile
        If the archive contradicts itself or the ZIP format; ``.code`` says how.
    LimitError
        If it is larger than the limits allow.
    OSError
        If it can't be opened or read.

    Notes
    -----
    Safe to use from many threads at once and after a fork: there is no shared file position.
    Pickling an archive that was opened by path carries the path; it is opened again, and must not
    have changed, where it is unpickled.
    `zipfile.ZipInfo` objects are made only when they are asked for. ``docs/drop-in.md`` lists each
    method beside the standard library's.

    Examples
    --------
    >>> import io, fastzip
    >>> file = io.BytesIO()
    >>> with fastzip.ZipFile(file, "w") as archive:
    ...     archive.writestr("a.txt", "one")
    ...     archive.writestr("b.txt", "two")
    >>> archive = fastzip.ZipFile(file)
    >>> archive.read("b.txt")
    b'two'
    >>> [bytes(data) for data in archive.read_many(["b.txt", "a.txt"])]
    [b'two', b'one']
    """

    _reader: ArrayReader | None = None  # None: the standard library reads
    _cut_names = False

    def __init__(
        self,
        file: Any,
        mode: Literal["r", "w", "x", "a"] = "r",
        compression: int = zipfile.ZIP_STORED,
        allowZip64: bool = True,
        compresslevel: int | None = None,
        *,
        strict_timestamps: bool = True,
        metadata_encoding: str | None = None,
        strict: bool = False,
        max_members: int | None = None,
        max_total_size: int | None = None,
        max_member_size: int | None = None,
        verify: bool = True,
        threads: int | None = None,
    ) -> None:
        self._limits = Limits(strict, max_members, max_total_size, max_member_size).checked()
        self._verify = verify
        self._threads = None if threads is None else _zip.thread_count(threads)
        self._leases = _zip.Leases()
        self._infos: dict[int, zipfile.ZipInfo] = {}
        self._positions: dict[zipfile.ZipInfo, int] = {}
        if self._limits != NO_LIMITS and mode != "r":
            raise ValueError("strict and limits are for reading")
        self._class = type(self)
        self._path: str | None = None
        if mode == "r":
            check_file(file)
            if isinstance(file, (str, os.PathLike)):
                refuse_devices(file)
                self._path = absolute_path(os.fsdecode(file))
            elif not hasattr(file, "read"):
                raise TypeError(
                    f"a path or a binary file object is wanted, not {type(file).__name__}; wrap an "
                    "archive's bytes: io.BytesIO(data)"
                )
            elif not hasattr(file, "seek"):
                check_seekable(file)
        super().__init__(
            file,
            mode,
            compression,
            allowZip64,
            compresslevel,
            strict_timestamps=strict_timestamps,
            metadata_encoding=metadata_encoding,
        )

    def _RealGetContents(self) -> None:
        """The standard library's way to read the directory; ours, where we can."""
        fp: Any = self.fp
        if self.mode == "r" and random_access(fp):
            self._open_natively(open_file(fp))
            return
        if self._limits != NO_LIMITS:
            raise ValueError(
                "strict and limits are for plain files and io.BytesIO; read this "
                f"{type(fp).__name__} into an io.BytesIO"
            )
        try:
            with _told_as_ours():
                super()._RealGetContents()  # type: ignore[misc]
        except errors.BadZipFile as exc:
            if what := described_file(fp):
                exc.add_note(what)
            raise

    def _open_natively(self, opened: Opened) -> None:
        try:
            reader = ArrayReader(opened, self._verify, self._limits)
            self._comment = reader.index.comment()
        except BaseException:
            opened.source.close()
            raise
        self.start_dir = reader.directory.start
        self._cut_names = reader.directory.has_nul  # as zipfile does, at the first NUL byte
        self._reader = reader
        del self.filelist, self.NameToInfo
        if self.metadata_encoding:  # the index knows names as they are by default
            self._list()
            if not _is_cp437(self.metadata_encoding):
                reader.directory.names_are_foreign()

    # ------------------------------------------------------------------------------------ listing

    def __getattr__(self, name: str) -> Any:
        """`filelist` and `NameToInfo` are made when they are first asked for."""
        if name not in _LISTS or self._reader is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._list()
        return self.__dict__[name]

    def _list(self) -> None:
        """Make all ZipInfo objects; those that exist already stay the ones they are."""
        index = self.index
        made = index.infos(0, len(index), self.metadata_encoding)
        names = [info.filename for info in made]
        self._positions.update(zip(made, range(len(made)), strict=True))  # before somebody has them
        filelist = [self._infos.setdefault(i, info) for i, info in enumerate(made)]
        self.__dict__.setdefault("NameToInfo", dict(zip(names, filelist, strict=True)))
        self.__dict__.setdefault("filelist", filelist)

    def _info(self, position: int) -> zipfile.ZipInfo:
        info = self._infos.get(position)
        if info is None:
            made = self.index.infos(position, position + 1, self.metadata_encoding)[0]
            self._positions[made] = position  # before somebody has it
            info = self._infos.setdefault(position, made)
        return info

    @property
    def index(self) -> Index:
        """The archive's directory: rows, names, lookup; see `fastzip.Index`.

        Raises
        ------
        ValueError
            If the archive isn't read natively, or not open.
        """
        if self._reader is None:
            raise ValueError(_CLOSED if self.fp is None else "this archive isn't read natively")
        return self._reader.index

    def namelist(self) -> list[str]:
        """The names of all members, in the archive's order.

        Returns
        -------
        list of str
            Decoded now, as `zipfile` decodes them; a new list each time.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> archive = fastzip.ZipFile(file)
        >>> archive.namelist()
        ['a.txt', 'b.txt']
        """
        if self._reader is None or "filelist" in self.__dict__:
            return super().namelist()
        names = self._reader.index.names()
        if self._cut_names:
            names = [name.partition("\0")[0] for name in names]
        for position, info in list(self._infos.items()):  # callers may have changed them
            names[position] = info.filename
        return names

    def getinfo(self, name: str) -> zipfile.ZipInfo:
        """The `ZipInfo` of the last member of this name.

        Parameters
        ----------
        name : str
            The member's name, as in `namelist`.

        Returns
        -------
        zipfile.ZipInfo
            The same object each time.

        Raises
        ------
        KeyError
            If there is no such member.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> archive = fastzip.ZipFile(file)
        >>> archive.getinfo("b.txt").file_size
        3
        """
        position = self._find(name)
        if position is not None:
            return self._info(position)
        try:
            return super().getinfo(name)
        except KeyError as exc:
            let_pass(exc)
            where = self._reader.index.where if self._reader else self.filename or "archive"
            raise _zip.no_name(exc.args[0], name, self.NameToInfo, where) from None

    def _find(self, name: Any) -> int | None:
        """Where the index has this name; None where the lists are to be asked."""
        reader = self._reader
        if reader is None or "NameToInfo" in self.__dict__ or not isinstance(name, str):
            return None
        if self._cut_names:
            return None
        position = reader.directory.find(str.__str__(name))  # NumPy's strings are others
        if position >= 0:
            return position
        raise _zip.no_member(reader.index, name)

    def _locate(self, member: Any) -> int | None:
        """The position of a name or a ZipInfo; None where the standard library is to read it, by
        what a subclass has made of `open`, perhaps."""
        return self._position(member) if type(self).open is ZipFile.open else None

    def _locate_all(self, names: Any) -> Positions | list[Any]:
        """The positions of many; where the standard library is to read one of them, names and
        ZipInfos of all of them."""
        reader, own = self._reader, self.__dict__
        if reader is not None and self.fp is None:
            raise ValueError(_CLOSED)
        listed: list[zipfile.ZipInfo] | None = own.get("filelist")
        n = self._count()
        chosen = _zip.chosen_keys(names, n, "names")
        plain = reader is not None and (type(self).open, type(self).getinfo) == (
            ZipFile.open,
            ZipFile.getinfo,
        )
        if not isinstance(chosen, list):
            if plain and listed is None:
                return chosen
            chosen = chosen.tolist()
        elif reader is not None and plain and "NameToInfo" not in own and not self._cut_names:
            positions = np.empty(len(chosen), np.int64)
            try:
                unknown = reader.directory.find_all(chosen, positions, False)
            except TypeError as exc:  # some aren't names
                let_pass(exc)
            else:
                if unknown >= 0:
                    raise _zip.no_member(reader.index, chosen[unknown])
                return positions
        members = [
            member
            if isinstance(member, (str, zipfile.ZipInfo))
            else self._at(_zip.position_number(member, n))
            for member in chosen
        ]
        located = [self._locate(member) for member in members]
        return members if None in located else np.array(located, np.int64)

    def _count(self) -> int:
        """How many members there are, whoever reads; none is made a ZipInfo for that."""
        listed = self.__dict__.get("filelist")
        return len(self.index) if listed is None else len(listed)

    def _at(self, position: int) -> zipfile.ZipInfo:
        listed: list[zipfile.ZipInfo] | None = self.__dict__.get("filelist")
        return self._info(position) if listed is None else listed[position]

    def _position(self, member: Any) -> int | None:
        if self._reader is None:
            return None
        if self.fp is None:
            raise ValueError(_CLOSED)
        if isinstance(member, zipfile.ZipInfo):
            return self._positions.get(member)
        if type(self).getinfo is ZipFile.getinfo:
            position = self._find(member)
            if position is not None:
                return position
        return self._positions.get(self.getinfo(member))

    # ------------------------------------------------------------------------------------ reading

    def _password(self, pwd: Any) -> bytes | None:
        return pwd or self.pwd  # it is checked where a member is encrypted, as zipfile does it

    def read(self, name: Member, pwd: bytes | None = None) -> bytes:
        """A member's bytes, verified.

        Parameters
        ----------
        name : str or ZipInfo
            Which member.
        pwd : bytes, optional
            For an encrypted member; None: what ``setpassword`` set.

        Returns
        -------
        bytes
            All of them.

        Raises
        ------
        KeyError
            If there is no such member.
        BadZipFile
            If it is damaged.
        UnsupportedError, PasswordError
            If its method isn't read, or its password is missing or wrong.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> archive = fastzip.ZipFile(file)
        >>> archive.read("b.txt")
        b'two'
        """
        own = self.__dict__  # `__getattr__` makes attributes slow to find
        reader: Any = own.get("_reader")
        position: int | None = -1
        if (
            type(self) is ZipFile
            and type(name) is str
            and reader is not None
            and own["fp"] is not None
            and not own["_cut_names"]
            and "NameToInfo" not in own
        ):  # what _locate does, for most; there a call more would cost 4 % of a member of 1 KB
            position = reader.directory.find(name)
        if position == -1:
            position = self._locate(name)
        if position is None:
            with _told_as_ours():
                return super().read(name, pwd)
        data: bytes = reader.data(position, pwd or own["pwd"])
        return data

    def open(
        self,
        name: Member,
        mode: Literal["r", "w"] = "r",
        pwd: bytes | None = None,
        *,
        force_zip64: bool = False,
    ) -> IO[bytes]:
        """A member as a binary file object that can be read, and sought in.

        What the headers say is checked now, the data when they are read. Members of up to 64 MiB
        are inflated whole, at the first read.

        Parameters
        ----------
        name : str or ZipInfo
            Which member.
        mode : {'r', 'w'}, optional
            'w' is the standard library's own.
        pwd : bytes, optional
            For an encrypted member; None: what ``setpassword`` set.
        force_zip64 : bool, optional
            For writing.

        Returns
        -------
        io.BufferedReader
            Not safe to share between threads; any number of them may be open.

        Raises
        ------
        KeyError
            If there is no such member.
        BadZipFile
            If its headers are wrong, or when it is read, its data.
        UnsupportedError, PasswordError
            If its method isn't read, or its password is missing or wrong.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> archive = fastzip.ZipFile(file)
        >>> with archive.open("b.txt") as file:
        ...     file.read(2), file.tell()
        (b'tw', 2)
        """
        position = self._position(name) if mode == "r" else None
        if position is None:
            with _told_as_ours():
                return super().open(name, mode, pwd, force_zip64=force_zip64)
        reader: Any = self._reader
        shown = name.filename if isinstance(name, zipfile.ZipInfo) else name
        return _zip.MemberFile(reader, position, shown, self._password(pwd), self._leases)

    def read_into(self, name: Member, out: Any, pwd: bytes | None = None) -> int:
        """Read a member into the caller's memory.

        Parameters
        ----------
        name : str or ZipInfo
            Which member.
        out : bytes-like object
            Writable, contiguous, and at least as long as the member; what is behind the member's
            last byte stays as it is.
        pwd : bytes, optional
            For an encrypted member; None: what ``setpassword`` set.

        Returns
        -------
        int
            The member's size in bytes.

        Raises
        ------
        TypeError, ValueError
            If `out` is too short, read-only, not contiguous, holds Python objects or pointers, or
            shares memory with the archive; nothing is written then.
        BadZipFile
            If the member is damaged; what `out` holds is undefined then.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        >>> out = bytearray(5)
        >>> fastzip.ZipFile(file).read_into("a.txt", out), out
        (3, bytearray(b'one\\x00\\x00'))
        """
        view = writable(out)
        position = self._locate(name)
        size = self._size(position) if position is not None else self._standard(name).file_size
        if len(view) < size:
            raise ValueError(f"out has {len(view):,} bytes, and the member {size:,}")
        if position is None:
            data = self.read(name, pwd)
            view[: len(data)] = data
            return len(data)
        reader: Any = self._reader
        if size:
            check_separate(view[:size], reader.opened)
        reader.data_into(position, view[:size], self._password(pwd))
        return size

    def _standard(self, name: Member) -> zipfile.ZipInfo:
        return name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)

    def _size(self, position: int) -> int:
        reader: Any = self._reader
        size: int = reader.directory.row(position)[1]
        return size

    def read_many(
        self, names: Names, *, threads: int | None = None, pwd: bytes | None = None
    ) -> list[memoryview]:
        """Read many members at once.

        They are inflated by native threads, without Python's lock, into one piece of memory, which
        lives as long as any of them does.

        Parameters
        ----------
        names : sequence
            Names, `ZipInfo` objects or positions in `namelist` (negative ones count from the end);
            an integer array; a slice; or a boolean mask with an element for each member. A member
            may be named several times. Other iterables are taken in their order; a set has none.
        threads : int, optional
            How many threads; None for the archive's ``threads``, or else `get_num_threads`.
        pwd : bytes, optional
            For encrypted members; None: what ``setpassword`` set.

        Returns
        -------
        list of memoryview
            Of bytes, 64-byte aligned and writable, in the order of `names`.

        Raises
        ------
        KeyError, IndexError
            If there is no such member.
        TypeError
            If `names` is one name or a set.
        BadZipFile
            If a member is damaged. The first one in the order of `names` is named; ``.failed``
            lists ``(name, code)`` of all that failed.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> archive = fastzip.ZipFile(file)
        >>> [bytes(data) for data in archive.read_many(["b.txt", "a.txt"])]
        [b'two', b'one']
        """
        members = self._locate_all(names)
        if isinstance(members, list):
            return [aligned(self.read(member, pwd)) for member in members]
        many = self._many(members, threads, pwd)
        many.raise_failure()
        return many.views

    def _many(self, positions: Any, threads: int | None, pwd: bytes | None) -> Many:
        reader: Any = self._reader
        return Many(reader, positions, self._resolve(threads), self._password(pwd))

    def _resolve(self, threads: int | None) -> int:
        return _zip.thread_count(self._threads if threads is None else threads)

    def testzip(self, *, progress: bool = False, threads: int | None = None) -> str | None:
        """Read all members, and verify them.

        Parameters
        ----------
        progress : bool, optional
            Show a bar on standard error; needs tqdm.
        threads : int, optional
            How many threads; None for the archive's ``threads``, or else `get_num_threads`.

        Returns
        -------
        str or None
            The name of the first damaged member, or None if there is none.

        Raises
        ------
        NotImplementedError, RuntimeError
            If a member can't be read for another reason: its method, a password.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        >>> fastzip.ZipFile(io.BytesIO(file.getvalue().replace(b"one", b"two", 1))).testzip()
        'a.txt'
        """
        reader = self._reader
        if reader is None or type(self).open is not ZipFile.open:
            return super().testzip()
        if self.fp is None:
            raise ValueError(_CLOSED)
        sizes = reader.index.rows["size"]
        with _zip.progress_bar(progress, "testing", int(sizes.sum(dtype=np.float64))) as advance:
            for piece in pieces(sizes, self._resolve(threads), _zip.WHOLE):
                bad = self._test(np.arange(piece.start, piece.stop), threads)
                if bad is not None:
                    return bad
                advance(int(sizes[piece].sum()))
        return None

    def _test(self, positions: Any, threads: int | None) -> str | None:
        reader: Any = self._reader
        failed: dict[int, Exception]
        if len(positions) == 1 and self._size(int(positions[0])) > _zip.WHOLE:
            try:
                for _ in reader.pieces(int(positions[0]), self._password(None)):
                    pass
            except zipfile.BadZipFile as exc:
                let_pass(exc)
                failed = {0: exc}
            else:
                return None
        else:
            failed = self._many(positions, threads, None).failed
        for i in sorted(failed):
            if not isinstance(failed[i], zipfile.BadZipFile):
                raise failed[i]
            return self._shown(None, int(positions[i]))
        return None

    # --------------------------------------------------------------------------------- extraction

    def extract(
        self,
        member: Member,
        path: str | os.PathLike[str] | None = None,
        pwd: bytes | None = None,
    ) -> str:
        """Extract one member to a file, as `extractall` does.

        Parameters
        ----------
        member : str or ZipInfo
            Which one.
        path : path, optional
            The folder; None: the current one.
        pwd : bytes, optional
            For an encrypted member; None: what ``setpassword`` set.

        Returns
        -------
        str
            The path of what was written.

        Raises
        ------
        KeyError
            If there is no such member.
        BadZipFile
            If it is damaged; nothing is written then.
        OSError, ValueError
            If the file can't be written, or a link leads out of the folder.

        Examples
        --------
        >>> import io, os, tempfile, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("../a.txt", "one")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     os.path.relpath(fastzip.ZipFile(file).extract("../a.txt", folder), folder)
        'a.txt'
        """
        return super().extract(member, path, pwd)

    def _extract_member(self, member: Any, path: str, pwd: bytes | None) -> str:
        """What the standard library calls for each member, and what subclasses override."""
        position = self._locate(member)
        if position is None:
            place: str = super()._extract_member(member, path, pwd)  # type: ignore[misc]
            return place
        extraction = self._extraction(path, pwd, 1, None)
        name = self._shown(member, position)
        extraction.add(position, name)
        extraction.flush()
        return extraction.place(name)

    def extractall(
        self,
        path: str | os.PathLike[str] | None = None,
        members: Iterable[Member] | None = None,
        pwd: bytes | None = None,
        *,
        progress: bool = False,
        threads: int | None = None,
    ) -> None:
        """Extract members to files.

        Files are written under a temporary name and then renamed, so each is complete or not there.
        Nothing is written outside of `path`: names lose leading slashes and ``..``, and links that
        lead out are refused.

        Parameters
        ----------
        path : path, optional
            The folder; None: the current one.
        members : iterable of str or ZipInfo, optional
            None: all of them.
        pwd : bytes, optional
            For encrypted members; None: what ``setpassword`` set.
        progress : bool, optional
            Show a bar on standard error; needs tqdm.
        threads : int, optional
            How many threads; None for the archive's ``threads``, or else `get_num_threads`.

        Raises
        ------
        KeyError
            If there is no such member.
        BadZipFile
            If a member is damaged; those before it have been extracted.
        OSError, ValueError
            If a file can't be written, or a link leads out of the folder.

        Examples
        --------
        >>> import io, os, tempfile, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:
        ...     archive.writestr("a.txt", "one")
        ...     archive.writestr("b.txt", "two")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fastzip.ZipFile(file).extractall(folder)
        ...     sorted(os.listdir(folder))
        ['a.txt', 'b.txt']
        """
        reader = self._reader
        own = type(self).open, type(self)._extract_member
        if reader is None or own != (ZipFile.open, ZipFile._extract_member):
            super().extractall(path, members, pwd)
            return
        if self.fp is None:
            raise ValueError(_CLOSED)
        jobs: list[tuple[Any, int | None]]
        positions: Any = slice(None)
        if members is None and "filelist" not in self.__dict__:
            jobs = [(None, position) for position in range(len(reader.index))]
        else:
            wanted = zipfile.ZipFile.namelist(self) if members is None else members
            jobs = [(member, self._locate(member)) for member in wanted]
            positions = [position for _, position in jobs if position is not None]
        total = int(reader.index.rows["size"][positions].sum(dtype=np.float64))  # 2**64 is a lie
        with _zip.progress_bar(progress, "extracting", total) as advance:
            extraction = self._extraction(path, pwd, threads, advance)
            for member, position in jobs:
                if position is None:  # a ZipInfo of somebody else's, or a folder that is implied
                    extraction.flush()
                    super().extract(member, path, pwd)
                else:
                    extraction.add(position, self._shown(member, position))
            extraction.flush()

    def _shown(self, member: Any, position: int) -> str:
        """The name to extract a member as: callers may have changed that of its ZipInfo."""
        info = member if isinstance(member, zipfile.ZipInfo) else self._infos.get(position)
        if info is not None:
            return info.filename
        reader: Any = self._reader
        name: str = reader.index.name(position)
        return name.partition("\0")[0]

    def _extraction(self, path: Any, pwd: Any, threads: int | None, advance: Any) -> Extraction:
        reader: Any = self._reader
        folder = os.getcwd() if path is None else os.fspath(path)
        return Extraction(reader, folder, self._resolve(threads), self._password(pwd), advance)

    # -------------------------------------------------------------------------- the object itself

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if self.fp is None else f"{text[:-1]} members={self._count()}>"

    def close(self) -> None:
        """Close the archive.

        What was read stays valid, members that are open can still be read.

        Examples
        --------
        >>> import io, fastzip
        >>> file = io.BytesIO()
        >>> with fastzip.ZipFile(file, "w") as archive:  # which closes it
        ...     archive.writestr("a.txt", "one")
        >>> archive = fastzip.ZipFile(file)
        >>> member = archive.open("a.txt")
        >>> archive.close()
        >>> member.read()
        b'one'
        """
        super().close()
        if self._reader is not None:
            self._leases.end(self._reader.close)

    def __reduce__(self) -> Any:
        if self.fp is None:
            raise ValueError(_CLOSED)
        if self._reader is None:
            raise TypeError("only archives that are read natively can be pickled")
        opened = self._reader.opened
        options = {
            "metadata_encoding": self.metadata_encoding,
            "verify": self._verify,
            "threads": self._threads,
            **self._limits._asdict(),
        }
        if self._path is not None:
            return _open_again, (self._class, self._path, opened.identity, self.pwd, options)
        if opened.memory is None:
            raise TypeError(
                f"{opened.where} was opened as a file object, so the archive can't be pickled"
            )
        return _open_copy, (self._class, bytes(opened.memory), self.pwd, options)

    def __setattr__(self, name: str, value: Any) -> None:
        """`zipfile.Path(archive)` makes the archive an instance of a class of its own, which knows
        nothing of us: it becomes one of a class that is both."""
        if name == "__class__" and not issubclass(value, ZipFile):
            value = _combined(value, type(self))
        super().__setattr__(name, value)


def _open_again(
    cls: type[ZipFile], path: str, identity: Identity, pwd: bytes | None, options: dict[str, Any]
) -> ZipFile:
    """Unpickle: open the same file, if it is the same."""
    open_same(path, identity).source.close()
    return _open_copy(cls, path, pwd, options)


def _open_copy(
    cls: type[ZipFile], data: bytes | str, pwd: bytes | None, options: dict[str, Any]
) -> ZipFile:
    archive = cls(io.BytesIO(data) if isinstance(data, bytes) else data, **options)
    archive.pwd = pwd
    return archive


_combinations: dict[tuple[type, type], type] = {}


def _combined(theirs: type, ours: type) -> type:
    """A class that is both; the same one every time."""
    made = _combinations.get((theirs, ours))
    if made is None:
        made = type(theirs.__name__, (theirs, ours), {"__module__": theirs.__module__})
    return _combinations.setdefault((theirs, ours), made)


class Path(zipfile.Path):
    """`zipfile.Path`, which opens archives as `ZipFile`.

    Parameters
    ----------
    root : path, file or zipfile.ZipFile
        The archive.
    at : str, optional
        A place in it; ``""`` is its root.

    Examples
    --------
    >>> import io, fastzip
    >>> file = io.BytesIO()
    >>> with fastzip.ZipFile(file, "w") as archive:
    ...     archive.writestr("a/b.txt", "one")
    >>> (fastzip.Path(file) / "a" / "b.txt").read_text()
    'one'
    >>> [path.name for path in fastzip.Path(file).iterdir()]
    ['a']
    """

    def __init__(self, root: Any, at: str = "") -> None:
        super().__init__(root if isinstance(root, zipfile.ZipFile) else ZipFile(root), at)
