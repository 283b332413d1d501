"""Devices, processes and timing: the machine that the rest runs on."""
