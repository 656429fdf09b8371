"""What changed, and the one commit that makes it visible: store, transaction, rows, audit, history.

Imports `rollup` and the wings below it. The only wing that writes to the store and that imports `deltalake`.
"""
