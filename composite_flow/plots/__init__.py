"""Pictures of results and of episodes. Each function takes a result, draws it and writes it; none computes."""
