"""The lake: Delta tables, releases, sessions over them. It knows no KeyCRM and no model.

deltalake's allocator and Arrow's keep what they freed for the next write, each for every
thread, and a process that runs for hours would hold it for good: a hundred megabytes of
nothing. Within one write it is used again and again, and getting every page anew from the
system would take twice as long as the write: a tenth of a second bridges that. They read
these words when they are loaded, so they are said before that.
"""

import os

os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0")
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
