"""Searches over configs: many runs, each a process of its own, that go on where they were stopped.

The process that steers a sweep imports Optuna and never torch; every run is a process that imports torch and never
Optuna. What they share is the run's own folder.
"""
