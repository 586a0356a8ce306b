"""What to compare with: behaviour cloning, SB3 agents trained online, and the ends of the scale."""
