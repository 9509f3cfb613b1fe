"""From words and files to a checked config: reading, overriding, checking, resolving classes; many runs at once."""
