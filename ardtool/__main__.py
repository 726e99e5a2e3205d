"""`python -m ardtool`."""

from .cli.main import run

run()
