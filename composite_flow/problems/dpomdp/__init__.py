"""Dec-POMDPs from `.dpomdp` files, the format of the MADP toolbox."""
