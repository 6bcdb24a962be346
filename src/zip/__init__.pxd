"""The ZIP format: bytes in, records and rows out, every number distrusted.

`records` are the structures of APPNOTE.TXT, `directory` goes from an archive's end to a row for each member
and a table of their names, `crypt` is traditional encryption. Reads through runtime.source; knows nothing of
engines, jobs or arrays.
"""
