"""The command line: Typer callbacks over the functions in `commands/`, and how their results look in a terminal.

Nothing here imports torch before a command runs, so that `ardtool --help` answers at once.
"""
