"""What the records of each experiment say: pages of tables and figures, pure functions of the records."""
