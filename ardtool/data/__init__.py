"""Data sets in memory: named ones (`catalogue.py` lists them) and the user's own folders, archives and arrays.

One data set or file kind a file. Start with `open_data`; `DataSet` says what comes back.
"""

from __future__ import annotations

from .catalogue import open_data
from .dataset import DataSet, Scaling, split_indices

__all__ = ["DataSet", "Scaling", "open_data", "split_indices"]
