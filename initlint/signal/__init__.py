"""The signal: every tensor's scale predicted forward and backward, and who is to blame for it."""
