"""The archive: where its bytes are, its directory, and the bytes of one member.

Sources answer "give me this range": a file read without a position, memory, or a range inside
another source. `Index` is the directory, parsed once into flat rows, with the lookup of names.
`Reader` reads one member by any method, verified. Below it nothing knows of arrays; above it
nothing knows of ZIP.
"""

from fastzip._zip.binding import engines
from fastzip._zip.buffers import BufferedFile, check_separate, refuse_references, writable
from fastzip._zip.formats import FRONT, ZIP_MAGIC, describe_file, is_pickle
from fastzip._zip.index import NO_LIMITS, Index, Limits
from fastzip._zip.keys import (
    Positions,
    check_order,
    chosen_keys,
    no_key,
    no_member,
    no_name,
    position_number,
    position_of,
    positions_of,
)
from fastzip._zip.member import FOREIGN, LARGE, MEMORY, Reader
from fastzip._zip.methods import AES, METHODS, check_password
from fastzip._zip.progress import progress_bar
from fastzip._zip.sources import (
    MAX_BUFFERED,
    Identity,
    Opened,
    SourceFile,
    absolute_path,
    check_file,
    check_seekable,
    checked_max_buffered,
    described_file,
    in_memory,
    open_any,
    open_file,
    open_memory,
    open_same,
    random_access,
    read_up_to,
    refuse_devices,
    size_of,
)
from fastzip._zip.stream import WHOLE, Leases, MemberFile
from fastzip._zip.suggest import nearest
from fastzip._zip.threads import (
    get_num_threads,
    quota,
    run_each,
    set_num_threads,
    thread_count,
    threads_worth,
)

__all__ = [
    "AES",
    "BufferedFile",
    "FOREIGN",
    "FRONT",
    "Identity",
    "Index",
    "LARGE",
    "Leases",
    "Limits",
    "MAX_BUFFERED",
    "MEMORY",
    "METHODS",
    "MemberFile",
    "NO_LIMITS",
    "Opened",
    "Positions",
    "Reader",
    "SourceFile",
    "WHOLE",
    "ZIP_MAGIC",
    "absolute_path",
    "check_file",
    "check_order",
    "check_password",
    "check_seekable",
    "check_separate",
    "checked_max_buffered",
    "chosen_keys",
    "describe_file",
    "described_file",
    "engines",
    "get_num_threads",
    "in_memory",
    "is_pickle",
    "nearest",
    "no_key",
    "no_member",
    "no_name",
    "open_any",
    "open_file",
    "open_memory",
    "open_same",
    "position_number",
    "position_of",
    "positions_of",
    "progress_bar",
    "quota",
    "random_access",
    "read_up_to",
    "refuse_devices",
    "refuse_references",
    "run_each",
    "set_num_threads",
    "size_of",
    "thread_count",
    "threads_worth",
    "writable",
]
