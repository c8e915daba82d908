"""What annual vectors lose, take and cost."""
