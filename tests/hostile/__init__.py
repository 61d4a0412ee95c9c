"""Hostile and broken inputs, made from seeds: one module a kind of harm, one maker an input."""
