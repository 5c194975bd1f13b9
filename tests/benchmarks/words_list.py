"""How ``data/Words/words.tsv.gz`` was made: ``python -m tests.benchmarks.words_list``, with the package wordfreq 3.1.1.

Of six languages the most frequent words of 4 to 12 letters, without those that stand in the lists of two of them, in a
random order that is fixed.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter

from xaiprune.core import data_dir
from xaiprune.data import LETTERS, PLACES
from xaiprune.data.words import CODES

#: Words of each language, and how many of the most frequent ones are looked through.
WORDS, LOOKED_AT = 4000, 40_000
SHORTEST = 4


def lists() -> dict[str, list[str]]:
    """The words of each language, the most frequent first."""
    import wordfreq

    found = {}
    for language in CODES:
        words = wordfreq.top_n_list(language, LOOKED_AT)
        found[language] = [w for w in words if SHORTEST <= len(w) <= PLACES and set(w) <= set(LETTERS)]
    times = Counter(word for words in found.values() for word in words)
    return {language: [w for w in words if times[w] == 1][:WORDS] for language, words in found.items()}


if __name__ == "__main__":
    rows = [f"{language}\t{word}" for language, words in lists().items() for word in words]
    random.Random(0).shuffle(rows)
    content = ("\n".join(rows) + "\n").encode()
    path = data_dir() / "Words" / "words.tsv.gz"
    path.write_bytes(gzip.compress(content, 9, mtime=0))
    print(path, len(rows), Counter(row[:2] for row in rows))
