"""What all rooms stand on: worker threads, memory, files, an archive's bytes, the one enum of errors.

Plain C with a view for Cython beside it, and no Python.h, so that none of it can need the interpreter's lock.
"""
