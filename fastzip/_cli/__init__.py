"""The command ``fastzip``: a verb a file, and the console that they share.

Nothing else imports this room, and it imports its verbs when they are run, so that an extra which
one of them needs is no burden to the others.
"""

from fastzip._cli.command import main

__all__ = ["main"]
