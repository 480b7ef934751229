"""What is known of the inside of a guest kernel: its tasks, its calls, its oopses."""
