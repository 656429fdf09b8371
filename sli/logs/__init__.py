"""What lies in the logs: which files there are, what their footers say, and their rows.

Imports `config` and the wings below it. Never knows what was published, and changes no log.
"""
