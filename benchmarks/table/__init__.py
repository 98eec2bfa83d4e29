"""The table of every solver and every way to calibrate, over models, guidance scales and steps."""
