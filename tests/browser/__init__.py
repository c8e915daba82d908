"""What a user does in a browser, done by one."""
