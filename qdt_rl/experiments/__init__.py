"""Agents side by side: what is run, and the tables and figures that come of its records."""
