"""The paper's figures and tables, beyond the library: `composite-flow reproduce figure1`, and so on.

One folder per figure or table: settings and presets, cells, what is drawn. An experiment computes cells (small JSON
files, one per seed or setting), each of which is done once and never again; plots read cells and compute nothing.
"""
