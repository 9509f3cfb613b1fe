"""The runs that there are: listing them, following a live one, cleaning up. Nothing here imports torch."""
