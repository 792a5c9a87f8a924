"""Jobs of a benchmark or a sweep, and the engines that run them."""
