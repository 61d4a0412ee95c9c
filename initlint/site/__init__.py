"""A static website over a store: an overview, a page for each model and each rule, search; no server, no network.

    store -> Fleet (one run, and the runs before it) -> pages -> a folder

A page is a function of rows; nothing here opens a model or knows a rule.
"""
