"""Real input for the demos: each module turns a public data set into the two logs a serving team would have."""
