"""``python -m deconvnet_cli``: the command line, also for ``torchrun -m``."""

from deconvnet_cli.cli import main

if __name__ == "__main__":  # worker processes import this module under another name
    main()
