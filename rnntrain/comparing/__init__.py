"""What runs came to, beside each other: reading them, grouping over seeds, differences and how sure they are.

Nothing here imports torch, so that hundreds of runs are compared in the time of a blink.
"""
