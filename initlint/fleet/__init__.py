"""Many models: find them, lint each content once, keep every result in a store, judge the fleet as a whole.

    paths -> Candidate -> Identity (content) -> Answer (report or refusal) -> Outcome -> store -> Summary -> exit code

The parent opens no model. It asks a pool (local workers or a Dask cluster) for the content of a file, then, once a content, for
its report; what comes back goes into the store before anything else happens to it.
"""
