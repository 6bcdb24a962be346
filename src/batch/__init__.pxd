"""Batches: which members, where each goes, and what one thread does with a group of them.

`members` finds a member's bytes, `jobs` takes it from there to its place, `lanes` takes several at once,
`groups` is the pool's work (`divide`, `run_group`). `front` looks at the beginning of one member, through a
batch of one. `kinds` are .npy headers that differ in the length alone, for members of different lengths;
`filling` pads them.
"""
