"""Serve labels over HTTP: photos in, labels out. It needs the packages of the extra ``serve``."""
