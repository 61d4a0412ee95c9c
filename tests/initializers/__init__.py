"""Tests of initlint.initializers."""
