"""Commit one of the faults in faults.c. Usage: faults.py LIBRARY FAULT."""

import ctypes
import sys

getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])(8)
