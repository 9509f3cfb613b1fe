"""What is written down, shown and measured while a trainer trains, and never changes what it does."""
