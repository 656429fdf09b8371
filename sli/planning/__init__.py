"""What to do and why, as plain values: a pure function of config, files, published state and request.

Imports `logs` and the wings below it. Reads no rows and writes nothing.
"""
