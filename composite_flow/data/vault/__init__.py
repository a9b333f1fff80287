"""Import of the vaults in which OG-MARL publishes replays."""
