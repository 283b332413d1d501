"""Figures that show how unpooling and the boxes made the labels of one photo."""
