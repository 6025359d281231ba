"""Functions of elements: unary, binary with broadcasting, select, clip."""
