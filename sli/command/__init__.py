"""The `sli` command and what it prints, `sli init`, and the demo.

Imports every other wing; nothing imports it but `flows`. The only wing that imports `rich`.
"""
