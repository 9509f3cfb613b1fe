"""A trained model in one folder that needs nothing else.

`bundle.py` writes it, `seal.py` checks it, `card.py` tells what it is.
"""
