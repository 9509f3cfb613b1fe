"""Raw inputs where they lie: files, folders and standard input, read one after the other and never held all at once.

`finding.py` chooses the reader; each of the others reads one kind of input.
"""
