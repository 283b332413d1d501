"""DeconvNet semantic segmentation (Noh, Hong, Han, ICCV 2015) from the command line."""

__version__ = "0.1.0"
