"""Beyond Figure 5: ways to act on what a team knows, where sensors overlook half of what passes."""
