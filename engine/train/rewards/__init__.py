"""What a good answer is: functions that score made-up answers."""
