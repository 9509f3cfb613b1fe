"""One page that shows what runs came to: HTML that needs no network, and loads nothing and runs nothing of others.

Nothing here imports torch. What runs recorded is data of their users: every piece of it passes `html.element`, which
escapes it.
"""
