"""The steps of `compare`: find the runs, group them, summarise each group over seeds, lay out a table."""
