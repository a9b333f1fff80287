"""Dec-POMDPs: the contract, and worlds behind it."""
