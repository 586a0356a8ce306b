"""The Quantum Decision Transformer, its ablations, and the plain transformer that it folds into."""
