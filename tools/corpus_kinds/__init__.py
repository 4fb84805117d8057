"""The kinds of files that tools/corpus.py reads."""
