"""Pure functions on arrays that every system may use."""
