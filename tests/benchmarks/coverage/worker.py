"""What runs in a process of its own: one model, and verbs one after the other."""

from __future__ import annotations

import json
import logging
import os
import resource
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are random, and nothing is asked for


def main(name: str, path: str, *verbs: str) -> None:
    """Try verbs on a model, and write a row of JSON for each as soon as it is known.

    Parameters
    ----------
    name : str
        Key of ``architectures()``.
    path : str
        File that the rows are added to.
    *verbs : str
        Keys of ``VERBS``.
    """
    from .architectures import architectures
    from .verbs import Subject, tried

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    subject = Subject(architectures(name.partition("/")[0])[name])
    with open(path, "a", encoding="utf-8") as file:
        for verb in verbs:
            row = {"verb": verb} | tried(subject, verb)
            row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps(row), file=file, flush=True)
