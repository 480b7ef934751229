"""What is known of many kernels without running any of them."""
