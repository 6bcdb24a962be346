"""The engines: raw deflate streams (RFC 1951) of known sizes in, bytes or a status out.

`engines` has them behind one signature: zlib-ng and libdeflate, bound by address or linked, and fastzip's own,
in interleaved/, which is plain C. Knows nothing of archives.
"""
