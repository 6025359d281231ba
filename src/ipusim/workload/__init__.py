"""What to compute: ops on typed values, in single assignment, without a word about tiles."""
