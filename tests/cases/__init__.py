"""Cases of other people: bug reports, requests and questions about other tools, each as a small case tried on this kit.

Each test names the report that it comes from. What the kit does not do yet is marked as an expected failure with the
reason: such a test runs, and says so once it passes.
"""
