"""Fuzzing of the reader: mutations that keep a model's structure, a short run in the tests, a long one as a command."""
