"""What the monitor shows, as plain values and text: no screen library."""
