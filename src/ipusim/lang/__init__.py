"""The codelet language: Python source -> typed syntax tree -> compiled code, and issue slots from the same tree."""
