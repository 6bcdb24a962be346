"""One contender at one task, in this process; `rounds.py` starts it.

    FASTZIP_ENGINE=... python bench/serve.py CONTENDER TASK
    python bench/serve.py CONTENDER --build SET...        # only write the files that it reads

First it prints one line of JSON: digests of what it read, or why it can't. Then, for each line with
a seed, the seconds that one round of that seed took. It ends with its input.
"""

import json
import os
import signal
import sys
from time import perf_counter
from typing import Any

CHECKED = (1_000_001, 1_000_002)  # seeds that no round has


def serve(name: str, task_id: str) -> dict[str, str] | None:
    """Why not, if it can't; else None at the end."""
    from cache import StaysCached, drop
    from contenders import CONTENDERS
    from jobs import growth, job
    from suite import TASKS

    from fastzip._cli.bench_readers import Missing

    task, contender = TASKS[task_id], CONTENDERS[name]
    try:
        ways = contender.make(task.threads)
        with ways.setting():
            path = ways.path(task.set)
            if task.cold:
                drop(path)
            grown = growth(task, ways) if task.kind == "open" and not task.cold else None
            with job(task, ways) as work:
                digests = []
                for seed in CHECKED:
                    work.reset()
                    digests.append(work.check(work.draw(seed)))
                say({"digests": digests, "memory": grown})
                for line in sys.stdin:
                    drawn = work.draw(int(line))
                    work.reset()
                    start = perf_counter()
                    work.do(drawn)
                    say(perf_counter() - start)
    except (Missing, StaysCached) as exc:
        return {"skipped": str(exc)}
    except Exception as exc:
        said = " ".join(str(exc).split())
        return {"skipped": f"{type(exc).__name__}: {said[:200]}"}
    return None


def build(name: str, *sets: str) -> dict[str, str] | None:
    """Write this contender's files of these sets, before anything is timed."""
    from contenders import CONTENDERS

    from fastzip._cli.bench_readers import Missing

    try:
        ways = CONTENDERS[name].make(1)
        for one in sets:
            ways.path(one)
    except Missing as exc:
        return {"skipped": str(exc)}
    return None


def say(what: Any) -> None:
    print(json.dumps(what), file=OUT, flush=True)


if __name__ == "__main__":
    OUT = os.fdopen(os.dup(1), "w")  # nobody else's prints come between, nor what C code says
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # folders and children go with it
    if sys.argv[2:3] == ["--build"]:
        why = build(sys.argv[1], *sys.argv[3:])
    else:
        why = serve(*sys.argv[1:])
    if why:
        say(why)
