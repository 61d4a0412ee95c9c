"""The commands of the command line, one module each. They and `cli.py` are all that prints."""
