"""The lake: Delta tables, releases, and sessions over them. It knows no KeyCRM.

Of the shop's models it knows what their headers publish in ``rules.columns``. Only ``history``
and the commands over it name tables: the orders and the revenue that a diff or an explanation lists.

The allocators of deltalake and Arrow retain freed memory for the next write, separately for
each thread. In a process that runs for hours this adds up to a hundred megabytes. Within one
write the memory is reused often, and if each page went back to the system immediately, the
write would take twice as long. So freed memory is returned after a tenth of a second.

The allocators read these variables at load time; set them before the first import.
"""

import os

os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0")
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
