"""Run a batch on a GPU: few processes own the nets, and many read, find boxes and write."""
