"""The most that anything may be made of, asked before it is made: a size is a number of a few digits in a user's file.

Knows bounds and the form of a refusal. Each refusal says what would be right.
"""

ARCHIVE_BYTES = 64 * 2**20  # of the arrays of an .npz file, or ARCHIVE_RATIO times the file where that is more
ARCHIVE_RATIO = 100  # deflate reaches 1,000 on zeros; keys, queries and schedules stay far below 100
BUCKETS = 2**16  # of a row's scores; the source has 20
RULE_BYTES = 2**33  # of the keys that a rule runs on: 2 million tokens of 8 heads of 128 channels
LAYERS = 10_000  # of a model; each is some 30 ops, written down one by one
LINES = 10_000  # of a file of sections, such as another tool's configuration
EXTENT = 2**31  # of a product that is written as text; a product of three of them is far beyond any machine
BATCH = 2**20  # sequences at once
TASKS = 2**17  # of a section
LISTED = 2**22  # tiles and runs of a section, listed one by one
COMBINATIONS = 2**20  # of a sweep
EVENTS_AT_ONCE = 2**25  # firings and tokens on their way at once, which an engine keeps apart


def beyond(size: int, most: int, *, of: str, instead: str) -> str:
    """Return what is wrong with a size, or nothing; `of` says what it counts, `instead` what would be right.

    >>> beyond(3_000, 2_000, of="tasks to write down", instead="take fewer heads")
    '3,000 tasks to write down, at most 2,000; take fewer heads'
    >>> beyond(2_000, 2_000, of="tasks to write down", instead="take fewer heads")
    ''
    """
    # Python refuses to turn an int of more than 4,300 digits into text.
    told = f"{size:,}" if size < 10**60 else "more than 10^60"
    return f"{told} {of}, at most {most:,}; {instead}" if size > most else ""
