"""Tell the story of a public re-implementation of FCN with numbers: one factor at a time, each run a resumable one.

``python -m benchmarks.reproductions --suite shapes`` runs the rows of a suite, ``--write-page`` writes
``docs/reproductions.md`` from the results.
"""
