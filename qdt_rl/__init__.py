"""Return-conditioned offline RL with the Quantum Decision Transformer (arXiv 2512.14726)."""
