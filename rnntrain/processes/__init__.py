"""Several processes that train one model: how they meet, what they tell each other, and what becomes of the lost."""
