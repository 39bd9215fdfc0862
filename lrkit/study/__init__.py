"""What the numbers need: intervals, probes, and the recorded experiments."""
