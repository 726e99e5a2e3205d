"""From request to result: the functions behind the commands, which are also the Python API.

They take paths or objects, return dataclasses with `.to_dict()`, print nothing and know neither Typer nor rich.
"""
