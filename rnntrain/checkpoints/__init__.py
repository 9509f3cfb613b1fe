"""Checkpoints: what is saved and how, so that it is whole or not there, and what is read of it without trust."""
