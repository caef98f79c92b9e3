"""What somebody might try, tried: against a whole stage in this process."""
