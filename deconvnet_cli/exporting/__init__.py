"""Nets as files for other runtimes."""
