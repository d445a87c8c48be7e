"""Measure how this service and others answer pictures with masks; ``benchmarks/serve.py`` is the command."""
