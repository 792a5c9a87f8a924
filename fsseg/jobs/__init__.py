"""Many commands: what is to be done, what is done already, and engines that do the rest."""
