"""Agents: what fits a dataset, acts for a target return, and is saved and loaded."""
