"""The folder of a run: made new, locked, contained, recorded; and what its record is good for later."""
