"""Import of vaults, the format in which OG-MARL publishes its data sets."""
