"""A histogram as one short word: how many bins, which digits, and how to read it. Needs no numbers library."""

__all__ = ["BINS", "LEVELS", "heights"]

BINS = 24  # equal ones from -largest to largest, so that what lies off centre or far out is seen to
LEVELS = "0123456789abcdefghijklmnopqrstuvwxyz"  # 0 is empty, z the fullest bin; in between to the next higher


def heights(word: str) -> tuple[float, ...]:
    """The bins' heights between 0 and 1; none where the word is no histogram."""
    digits = [LEVELS.find(letter) for letter in word[: 4 * BINS]]
    return tuple(digit / (len(LEVELS) - 1) for digit in digits) if min(digits, default=-1) >= 0 else ()
