"""Many pictures: every photo with every painting and every combination of settings, painted by Dask's workers."""
