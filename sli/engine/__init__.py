"""The machinery below everything else: DuckDB, Arrow, storage, signals, temporary files.

Imports `calendar` and the root modules. Knows nothing of SLIs, configs, logs or tables.
"""
