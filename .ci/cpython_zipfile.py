"""Runs CPython's own tests of zipfile with fastzip.ZipFile in the place of zipfile.ZipFile.

They come with the interpreter: `python .ci/cpython_zipfile.py`, in an environment with fastzip.
"""

import importlib.util
import sys
import unittest
import zipfile

import fastzip
from fastzip._dropin.archive import ZipFile

LEFT_OUT = dict.fromkeys(
    [
        "OtherTests.test_unsupported_version",
        "OtherTests.test_read_zipfile_error",
        "StoredTestZip64InSmallFiles.test_bad_zip64_extra",
    ],
    "a lie about one member is found when that member is read, and doesn't block the others",
)
LEFT_OUT |= dict.fromkeys(
    [
        f"{kind}TestsWithSourceFile.test_truncated_zipfile"
        for kind in ("Stored", "Deflate", "Bzip2", "Lzma", "Zstd")
    ],
    "an io.BytesIO that is cut short doesn't change what is read: its bytes are shared",
)
LEFT_OUT |= dict.fromkeys(
    [
        "OtherTests.test_full_overlap",
        "OtherTests.test_full_overlap_different_names",
        "OtherTests.test_full_overlap_different_names2",
        "OtherTests.test_full_overlap_same_name",
        "OtherTests.test_quoted_overlap",
    ],
    "members that overlap are refused, whichever is read",
)
LEFT_OUT |= dict.fromkeys(
    [
        "OverwriteTests.test_overwrite_file_symlink_as_file",
        "OverwriteTests.test_overwrite_broken_file_symlink_as_file",
    ],
    "extraction replaces a link, and doesn't write through it",
)
LEFT_OUT |= dict.fromkeys(
    [
        f"{kind}BoundedDecompressTests.test_read1_output_is_bounded"
        for kind in ("Stored", "Deflate", "Bzip2", "Lzma", "Zstd")
    ],
    "calls a private method of zipfile.ZipExtFile",
)
LEFT_OUT |= {
    "MonkeypatchedDecompressorTests.test_roundtrip_monkeypatched_decompressor": (
        "adds a compression method to zipfile's private functions"
    ),
    "ZstdBadCrcTests.test_read_with_bad_crc": (
        "local header and directory have different CRCs, and opening the member finds that"
    ),
    "OtherTests.test_decompress_without_3rd_party_library": (
        "takes zlib, bz2 and lzma away from zipfile, where fastzip doesn't look for them"
    ),
    "StoredTestZip64InSmallFiles.test_generated_valid_zip64_extra": (
        "the archives' two end records contradict each other"
    ),
    "StoredTestsWithSourceFile.test_append_to_non_zip_file": (
        "the archive's offsets count a prefix that has been cut off"
    ),
    "StoredTestsWithSourceFile.test_append_to_concatenated_zip_file": (
        "the archive's offsets count a prefix that has been cut off"
    ),
}
"""Test -> why it can't hold for fastzip."""
OTHER_WORDS = {
    "OtherTests.test_overlap_with_archive_comment",
    "OtherTests.test_overlap_with_central_dir",
    "StoredTestZip64InSmallFiles.test_bad_zip64_end_of_central_dir",
    "StoredTestZip64InSmallFiles.test_zip64_end_of_central_dir_record_not_found",
    "StoredTestZip64InSmallFiles.test_zip64_extensible_data",
}
"""Tests that look for words of zipfile's in an exception; that it is raised is enough."""

native = 0
_open_natively = ZipFile._open_natively


def _counted(self, opened):
    global native
    native += 1
    _open_natively(self, opened)


def _tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def main():
    ZipFile._open_natively = _counted
    zipfile.ZipFile = fastzip.ZipFile
    zipfile.PyZipFile = type("PyZipFile", (zipfile.PyZipFile, fastzip.ZipFile), {})
    names = ["test.test_zipfile"]
    if importlib.util.find_spec("test.test_zipfile").submodule_search_locations:  # from 3.12 on
        names = ["test.test_zipfile.test_core", "test.test_zipfile._path.test_path"]
    chosen, left_out = unittest.TestSuite(), set()
    for test in _tests(unittest.defaultTestLoader.loadTestsFromNames(names)):
        name = ".".join(test.id().rpartition("test_zipfile.")[2].split(".")[-2:])
        if name in LEFT_OUT:
            left_out.add(name)
            continue
        if name in OTHER_WORDS:
            raises = test.assertRaises
            test.assertRaisesRegex = lambda kind, words, raises=raises: raises(kind)
        chosen.addTest(test)
    done = unittest.TextTestRunner(verbosity=0, buffer=True).run(chosen)
    print(
        f"{done.testsRun} tests, {len(done.skipped)} skipped, {len(left_out)} left out; "
        f"{native} archives were read natively"
    )
    for name in sorted(left_out):
        print(f"left out: {name}: {LEFT_OUT[name]}")
    return 0 if done.wasSuccessful() and native > 500 else 1


if __name__ == "__main__":
    sys.exit(main())
