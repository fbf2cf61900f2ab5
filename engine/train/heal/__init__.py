"""What keeps a run alive: out of memory, numbers that break, full disks."""
