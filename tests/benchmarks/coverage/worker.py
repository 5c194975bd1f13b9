"""A process of its own for one model: ``python -m tests.benchmarks.coverage.worker NAME FILE VERB...``.

Each verb writes two lines to the file: that it begins, and its row. So the parent knows where a process ended.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are random, and nothing is asked for


def main(name: str, path: str, *verbs: str) -> None:
    """Try the verbs on a model, one after the other."""
    from .architectures import architectures
    from .verbs import Subject, tried

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    subject = Subject(architectures(name.partition("/")[0])[name])
    with open(path, "a", encoding="utf-8") as file:
        for verb in verbs:
            print(json.dumps({"verb": verb}), file=file, flush=True)
            row = tried(subject, verb)
            row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps({"verb": verb} | row), file=file, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
