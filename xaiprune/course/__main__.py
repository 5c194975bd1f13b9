"""``python -m xaiprune.course run``: see :mod:`xaiprune.course.runner`."""

import sys

from .runner import main

sys.exit(main())
