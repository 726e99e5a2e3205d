"""Data sets in memory: named ones (`catalogue.py` lists them) and the user's own folders, archives and arrays.

One data set or file kind a file. Start with `catalogue.open_data`; `dataset.DataSet` says what comes back.
"""
