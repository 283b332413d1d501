"""``python -m deconvnet_cli``: the command line, also for ``torchrun -m``."""

from deconvnet_cli.cli import main

main()
