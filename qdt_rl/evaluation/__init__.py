"""Evaluation: batched return-conditioned rollouts, and statistics of what comes out."""
