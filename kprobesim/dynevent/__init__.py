"""Dynamic events as their files in tracefs take them: definitions, their grammar, its errors."""
