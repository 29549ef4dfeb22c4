"""A document of statistics, made up."""

import json


def document(**changes):
    figures = dict.fromkeys(("cached_bin_bytes", "cached_inbox_bytes", "cached_depot_bytes", "free_bytes", "large_allocs",
                             "segment_purged_inside_bytes", "segment_dirty_bytes", "large_cached_bytes", "meta_mapped_bytes",
                             "segment_refaulted_bytes", "thread_caches", "resident_bytes", "os_purged_bytes", "limit_hard_bytes", "limit_soft_bytes",
                             "limit_used_bytes", "limit_refused"), 0)
    figures.update({"schema": 1, "version": "0.1.0", "pid": 7, "allocated_bytes": 0, "thread_by_cpu": 1,
                    "classes": [
        {"object_bytes": 16, "live_objects": 3, "cached_objects": 0, "span_bytes": 48}]}, **changes)
    return json.dumps(figures, indent=1) + "\n"
