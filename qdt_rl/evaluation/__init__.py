"""Evaluation: batched return-conditioned rollouts, SB3's tools, and statistics of what comes out."""
