"""One module per figure and table of the paper: settings, presets, a computation, a picture.

An experiment computes cells (small JSON files, one per seed or setting), each of which is done once and never
again; plots read cells and compute nothing.
"""
