"""One file for each data set: where its annotations come from, and what is special about them."""
